"""A disk that is full, or read-only, or fails: the peer hears a temporary error, nothing accepted is lost, and the
service goes on by itself when there is room again."""

from __future__ import annotations

import json
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.dev import Dev, message
from support.disk import Image
from support.load import Senders, wait_until_delivered
from support.tuned import Tuned

_MIB = 1 << 20
_TEMPORARY = {421, 451, 452}
_SMALL: dict[str, Any] = {"segment_size": 256 * 1024, "large_message": 64 * 1024, "reserve": 0}
_SOON: dict[str, Any] = {"local_retry_first": 0.5, "local_retry_most": 1.0, "concurrency_local": 500}


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    with Image(tmp_path, "ext4", 256 * _MIB, options="errors=remount-ro") as image:
        yield image


def _on(image: Image, tmp_path: Path, changes: Mapping[str, Mapping[str, Any]]) -> Tuned:
    """All of the service's state lies on the image."""
    log = tmp_path / "dev.log"
    return Tuned(image.place / "dev", changes, inside=image.inside / "dev", before=image.enter, log=log)


def _free(image: Image, ballast: Path) -> None:
    ballast.unlink()
    subprocess.run(["sync", "-f", str(image.place)], check=True)  # the blocks are free when that is on the disk


def _wait(what: Callable[[], bool], seconds: float = 20) -> float:
    """Returns how long it took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() < begun + seconds
        time.sleep(0.05)
    return time.monotonic() - begun


def _mail_reply(dev: Dev, size: int = 0) -> int:
    """To MAIL, in a session of its own."""
    with smtplib.SMTP("127.0.0.1", dev.smtp, timeout=20) as session:
        session.ehlo()
        return session.mail("sender@far.test", [f"SIZE={size}"] if size else [])[0]


def _events(log: Path, name: str) -> int:
    whole = log.read_text().rpartition("\n")[0]  # the last line may be half written
    lines = (line for line in whole.splitlines() if line.startswith("{"))
    return sum(json.loads(line)["event"] == name for line in lines)


def test_452_before_any_data_and_back_by_itself(image: Image, tmp_path: Path) -> None:
    dev = Dev(image.place / "dev", inside=image.inside / "dev", before=image.enter, log=tmp_path / "dev.log")
    dev.start()
    try:
        workers = dev.children()
        assert _mail_reply(dev) == 250
        assert _mail_reply(dev, 10 * _MIB) == 250
        ballast = image.fill(leave=70 * _MIB)  # the reserve is 64
        _wait(lambda: _mail_reply(dev, 10 * _MIB) == 452)
        assert _mail_reply(dev) == 250
        image.fill(leave=10 * _MIB)
        _wait(lambda: _mail_reply(dev) == 452)
        _free(image, ballast)
        _wait(lambda: _mail_reply(dev) == 250)
        assert dev.children() == workers
        assert dev.stop() == 0
    finally:
        dev.close()


def test_a_disk_that_fills_up_under_load(image: Image, tmp_path: Path) -> None:
    """Nothing is reserved: the writes themselves fail, of segments, large texts, journals and mailboxes."""
    dev = _on(image, tmp_path, {"spool": _SMALL, "queue": _SOON})
    dev.start()
    senders = Senders(dev, 4, pause=0.005)
    try:
        workers = dev.children()
        for _ in range(2):
            time.sleep(0.3)
            ballast = image.fill()
            refused = senders.refused.total()
            _wait(lambda refused=refused: senders.refused.total() > refused + 20)  # type: ignore[misc]
            _free(image, ballast)
            kept = len(senders.kept)
            back = _wait(lambda kept=kept: len(senders.kept) > kept + 20)  # type: ignore[misc]
            print(f"room again: 20 messages within {back:.2f} s")
        senders.stop()
        assert set(senders.refused) <= _TEMPORARY
        wait_until_delivered(dev, senders.kept)
        assert dev.children() == workers
        print(f"full disk: {len(senders.kept)} accepted, {dict(senders.refused)} refused, 0 lost")
        assert dev.stop() == 0
    finally:
        senders.stop()
        dev.close()


def test_mailboxes_without_room_or_read_only_make_mail_wait(image: Image, tmp_path: Path) -> None:
    (image.place / "vmail").mkdir()
    changes: Mapping[str, Mapping[str, Any]] = {"delivery": {"maildir": str(image.inside / "vmail")}, "queue": _SOON}
    log = tmp_path / "dev.log"
    dev = Tuned(tmp_path / "dev", changes, before=image.enter, log=log)
    dev.start()
    senders = Senders(dev, 3, pause=0.01)
    try:
        workers = dev.children()
        time.sleep(0.3)
        ballast = image.fill()
        _wait(lambda: _events(log, "delayed") > 10)
        _free(image, ballast)
        time.sleep(0.5)
        delayed = _events(log, "delayed")
        image.remount("ro")
        _wait(lambda: _events(log, "delayed") > delayed + 10)
        image.remount("rw")
        time.sleep(0.3)
        senders.stop()
        assert not senders.refused, "the spool is elsewhere and has room"
        wait_until_delivered(dev, senders.kept, folder=image.place)
        assert _events(log, "failed") == 0
        assert dev.children() == workers
        assert dev.stop() == 0
    finally:
        senders.stop()
        dev.close()


def test_a_spool_that_becomes_read_only(image: Image, tmp_path: Path) -> None:
    """As the kernel makes a file system when it meets an error in it. Mail is refused for a time; after the repair and
    a restart all that was accepted is there."""
    dev = _on(image, tmp_path, {"spool": _SMALL, "queue": _SOON})
    dev.start()
    senders = Senders(dev, 4, pause=0.005)
    try:
        time.sleep(0.5)
        gone_at = time.monotonic()
        image.fail()
        _wait(lambda: senders.refused.total() > 20)
        senders.stop()
        assert set(senders.refused) <= _TEMPORARY
        assert dev.process is not None
        assert dev.process.poll() is None
        _, text = message(0, 100)
        with smtplib.SMTP("127.0.0.1", dev.smtp, timeout=20) as session, pytest.raises(smtplib.SMTPException) as caught:
            session.sendmail("sender@far.test", ["user0@demo.test"], text)
        assert isinstance(caught.value, smtplib.SMTPResponseException)
        assert caught.value.smtp_code in _TEMPORARY
        dev.kill()
        image.unmount()
        image.repair()
        image.mount()
        dev.start()
        # The error drops what the log had not committed: so it is with syncs that were under way.
        wait_until_delivered(dev, [mark for mark, when in senders.kept.items() if when < gone_at])
        assert _mail_reply(dev) == 250
        assert dev.stop() == 0
    finally:
        senders.stop()
        dev.close()
