"""The power goes under load: what got its 250 is delivered, once and unaltered, from what the disk had by then.

The file system of a loop image is shut down by the kernel without flushing its log, so that all that was not synced
is gone. Some moments later the processes are killed, as they would be, the image is mounted again, and the service
starts over it. It then finds another boot id, as after any cut of the power.

A mail program reads the mailboxes meanwhile: it moves mails from new/ to cur/, where a second delivery would not
overwrite the first.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from pathlib import Path

import pytest

from support.dev import Dev
from support.disk import Image
from support.load import Senders, wait_until_delivered

CUTS = int(os.environ.get("POSTANE_POWER_CUTS", "6"))  # in all: half of them on each file system
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))
_LOOK = 10  # cuts after which all is counted
_SLOWEST_START = 10.0  # seconds; what it takes on a machine with other work is printed, and measured by the bench

_DYING = 2.0  # seconds that a sync may take which was under way when the disk went

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Machine:
    """The daemon where the image is mounted and the machine has a boot id of our own."""

    def __init__(self, folder: Path, image: Image) -> None:
        self._boot = folder / "boot_id"
        bind = f'mount --bind "$0" {_BOOT_ID} && exec "$@"'
        before = (*image.enter, "unshare", "--mount", "--", "sh", "-c", bind, str(self._boot))
        self.dev = Dev(image.place / "dev", inside=image.inside / "dev", log=folder / "dev.log", before=before)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.dev.close()

    def boot(self) -> float:
        """Returns the seconds until the service was ready."""
        self._boot.write_text(f"{uuid.uuid4()}\n")
        return self.dev.start()


class Reader(threading.Thread):
    """Reads mail as it comes, until told to stop; a disk that is gone does not stop it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            with contextlib.suppress(OSError):
                for path in self._folder.glob("vmail/*/*/Maildir/new/*"):
                    path.rename(path.parent.parent / "cur" / f"{path.name}:2,S")

    def stop(self) -> None:
        self._ended.set()
        self.join()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_power_goes(kind: str, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    starts = []
    kept: list[str] = []
    number = 0
    # So that a hundred rounds of mail fit; the image grows only as it is written.
    with Image(tmp_path, kind, (1 + CUTS // 10) << 30) as image, Machine(tmp_path, image) as machine:
        dev = machine.dev
        machine.boot()
        for cut in range((CUTS + 1) // 2):
            senders, reader = Senders(dev, 4, first=number), Reader(dev.folder)
            try:
                time.sleep(chance.uniform(0.2, 1.0))
                gone_at = time.monotonic()
                image.cut()
                # A process that outlives its disk must see that nothing is safe any more.
                time.sleep(chance.choice([0.0, chance.uniform(0.0, 0.3), _DYING + 0.5]))
            finally:
                dev.kill()
                senders.stop()
                reader.stop()
            # A machine without power says nothing. This one can say 250 for a moment: a sync that the shutdown
            # overtakes may be called good by the kernel (jbd2 takes a dropped transaction for a finished one).
            kept += [mark for mark, when in senders.kept.items() if when < gone_at]
            assert max(senders.kept.values(), default=0.0) < gone_at + _DYING
            number = senders.number
            image.unmount()
            image.mount()
            starts.append(machine.boot())
            if cut % _LOOK == _LOOK - 1:
                wait_until_delivered(dev, kept)
        wait_until_delivered(dev, kept)
        assert dev.stop() == 0
        wait_until_delivered(dev, kept, 0)
    starts.sort()
    median, slowest = starts[len(starts) // 2], starts[-1]
    print(
        f"{kind}: {len(starts)} cuts of the power, {len(kept)} accepted, 0 lost, 0 doubled, 0 altered; "
        f"start {median:.2f} s (median), {slowest:.2f} s (slowest)"
    )
    assert len(kept) > 20 * len(starts)
    assert slowest < _SLOWEST_START
