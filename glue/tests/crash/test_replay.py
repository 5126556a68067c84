"""The power goes at any moment, on a disk that keeps to POSIX and to no more: from recorded system calls.

A service takes mail, is killed, comes back and takes more, while strace records what its processes tell the disk. Then
at moments all along the record the folder is made as a cut of the power may leave it (support.strict says what that
is), the spool is recovered, what is in it is delivered, and every message whose 250 had been sent by that moment must
be in its mailboxes once, unaltered, whoever has read mail meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from postane.bounce.notices import DsnNotices
from postane.config.model import Queue, Spool
from postane.core.address import Address
from postane.core.ports import Mailbox, Resolved
from postane.delivery.maildir import MaildirTransport
from postane.delivery.router import Router
from postane.observe.log import configure
from postane.queue.runner import QueueRunner
from postane.spool.view import SpoolView
from support import trace
from support.dev import Dev, digest, message
from support.disk import need
from support.strict import StrictDisk
from support.tuned import RUN, Tuned

CUTS = int(os.environ.get("POSTANE_REPLAY_CUTS", "60"))
MESSAGES = int(os.environ.get("POSTANE_REPLAY_MESSAGES", "120"))  # in all, in two lives of the service
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))

# Small, so that segments fill, are given back and are used again, and texts get files.
_SPOOL = {"segment_size": 64 * 1024, "large_message": 12 * 1024, "reserve": 0}
_LARGE_EACH = 9

# The next life begins when the one before is dead, as long as a file is there.
_LIVES = 'while [ -e "$0" ]; do "$@"; done'
_ACCEPTED = re.compile(rb"250 2\.0\.0 OK ([0-9A-Z]{26})")


@dataclass
class Recording:
    folder: Path
    record: Path
    mails: dict[str, tuple[str, ...]] = field(default_factory=dict)  # recipients by id, of what got its 250


def _send(port: int, people: Sequence[str], numbers: Sequence[int], mails: dict[str, tuple[str, ...]]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as session:
        session.ehlo()
        for number in numbers:
            to = [f"{name}@demo.test" for name in people[: 1 + number % len(people)]]
            _, text = message(number, 30_000 if number % _LARGE_EACH == 0 else 1_500)
            session.mail("sender@far.test")
            for one in to:
                session.rcpt(one)
            code, reply = session.data(text)
            assert code == 250
            mails[reply.decode().rpartition(" ")[2]] = tuple(to)


def _take_mail(dev: Dev, first: int, recording: Recording) -> None:
    """Half of the messages, over three connections at once."""
    half = MESSAGES // 2
    senders = [
        threading.Thread(target=_send, args=(dev.smtp, dev.people, range(first + at, first + half, 3), recording.mails))
        for at in range(3)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def _children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    need("strace")
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    folder = tmp_path_factory.mktemp("replay")
    dev = Tuned(folder / "dev", {"spool": _SPOOL})
    # These begin anew, under the recorder's eyes.
    shutil.rmtree(dev.folder / "spool")
    shutil.rmtree(dev.folder / "vmail", ignore_errors=True)
    recording = Recording(dev.folder, folder / "record")
    goes_on = folder / "goes-on"
    goes_on.touch()
    lives = ["sh", "-c", _LIVES, str(goes_on), sys.executable, "-c", RUN, str(dev.config)]
    with dev.log.open("ab") as log:
        strace = subprocess.Popen(trace.command(recording.record, lives), stdout=subprocess.PIPE, stderr=log)
    try:
        assert strace.stdout is not None
        assert strace.stdout.readline() == b"ready\n"
        _take_mail(dev, 0, recording)
        ((shell,), (supervisor,)) = (_children(strace.pid), _children(_children(strace.pid)[0]))
        for process in (supervisor, *_children(supervisor)):
            os.kill(process, signal.SIGKILL)
        assert strace.stdout.readline() == b"ready\n"
        _take_mail(dev, MESSAGES // 2, recording)
        time.sleep(0.3)
        goes_on.unlink()
        os.kill(_children(shell)[0], signal.SIGTERM)
        strace.communicate(timeout=60)
    finally:
        strace.kill()
    return recording


async def _nobody(address: Address) -> Resolved:
    raise AssertionError(f"a notice for {address}")


async def _mailbox(address: str) -> Mailbox:
    """As `postane dev` has made them, one after the other."""
    local, _, domain = address.rpartition("@")
    return Mailbox(1 + int(local.removeprefix("user")), f"{domain}/{local}", 0.0)


async def _deliver(folder: Path) -> None:
    """As the queue process does after a start: recovers the spool and works until nothing is owed to anybody."""
    view = SpoolView(folder / "spool", Spool(**_SPOOL))
    transport = MaildirTransport(folder / "vmail", "mail.demo.test", _mailbox)
    routes = Router(transport, transport, "")
    notices = DsnNotices("mail.demo.test", _nobody, _mailbox, time.time)
    runner = QueueRunner(view, routes, notices, Queue(concurrency_local=500))
    running = asyncio.create_task(runner.run())
    end = time.monotonic() + 10
    # What is damaged is held for the operator: it will not come.
    while time.monotonic() < end and (runner._first or not all(one.held for one in runner.entries.values())):  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    runner.stop()
    await running
    await runner.drain(5)
    await view.close()


def _read_mail(folder: Path) -> None:
    for path in folder.glob("vmail/*/*/Maildir/new/*"):
        path.rename(path.parent.parent / "cur" / f"{path.name}:2,S")


def _mailboxes(folder: Path) -> Counter[tuple[str, str]]:
    """How often each message is in each mailbox; fails on one that is altered."""
    found: Counter[tuple[str, str]] = Counter()
    for path in (*folder.glob("vmail/*/*/Maildir/new/*"), *folder.glob("vmail/*/*/Maildir/cur/*")):
        octets = path.read_bytes()
        mark = octets.partition(b"X-Mark: ")[2].partition(b"\r\n")[0].decode()
        assert mark == digest(octets[octets.find(b"Subject: ") :]), f"{path} is altered"
        found[path.name.split(".")[1], f"{path.parts[-4]}@{path.parts[-5]}"] += 1
    return found


def _replay(recording: Recording, place: Path, disk: StrictDisk, cuts: int) -> int:
    """Cuts the power so often along the record. Returns how many messages had got their 250 in all."""
    chance = random.Random(SEED)
    with recording.record.open("rb") as file:
        lines = sum(1 for _ in file)
    begins = _first_line(recording, lines)
    moments = Counter(chance.randrange(begins, lines) for _ in range(cuts))
    accepted: dict[str, int] = {}
    asked = 0
    due = sorted(moments)
    for line, call, begun in trace.read(recording.record):
        while due and due[0] < line:
            for _ in range(moments[due.pop(0)]):
                asked += len(accepted)
                _cut(disk, place, chance, recording, accepted)
        disk.take(call, begun)
        if begun and call.name in ("write", "writev", "sendto", "sendmsg"):
            for found in _ACCEPTED.findall(call.data()):
                accepted.setdefault(found.decode(), line)
    assert set(recording.mails) <= set(accepted)
    return asked


def _first_line(recording: Recording, lines: int) -> int:
    """Where the first 250 was sent: nothing can be lost before."""
    for line, call, _ in trace.read(recording.record):
        if _ACCEPTED.search(call.data()):
            return line
    return lines


def _cut(disk: StrictDisk, place: Path, chance: random.Random, recording: Recording, accepted: dict[str, int]) -> None:
    # The bare minimum, all of it, or anything between.
    share = chance.choice([0.0, 0.0, 1.0, 0.1, 0.5, 0.9])
    shutil.rmtree(place, ignore_errors=True)
    disk.leave(place, chance, share)
    if chance.random() < 0.5:
        _read_mail(place)
    asyncio.run(_deliver(place))
    found = _mailboxes(place)
    # A message was taken for its recipients when its 250 was sent, whether the client has read that or not.
    owed = [(one, to) for one in accepted for to in recording.mails.get(one, ())]
    lost = [pair for pair in owed if pair not in found]
    assert not lost, f"{len(lost)} of {len(owed)} lost, share {share}: {lost[:3]}"
    assert not [pair for pair, count in found.items() if count > 1], f"doubled, share {share}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the folders of a cut are made: in memory where there is room, since all the syncs are real."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder, "left")


@pytest.fixture
def another_boot(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    configure("error")
    monkeypatch.setattr("postane.spool.inflight.boot_id", lambda: "the boot after the cut")
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("another_boot")
def test_any_cut_leaves_what_was_accepted(recording: Recording, place: Path) -> None:
    asked = _replay(recording, place, StrictDisk(recording.folder), CUTS)
    print(
        f"{CUTS} cuts of the power under the strict POSIX rule, {len(recording.mails)} messages, "
        f"asked for {asked} times, 0 lost, 0 doubled, 0 altered"
    )
    assert asked > CUTS


@pytest.mark.usefixtures("another_boot")
@pytest.mark.parametrize(
    "lies",
    [r".*\.free(\.tmp)?", "w0|w1", "large|01[0-9A-Z]+", "new", r"\d+\.01[0-9A-Z]+\.mail\.demo\.test"],
    ids=["segment", "worker's folder", "large text", "mailbox", "mail"],
)
def test_a_sync_that_is_left_out_is_noticed(recording: Recording, place: Path, lies: str) -> None:
    """Else the test above would prove nothing."""
    disk = StrictDisk(recording.folder, lies=lambda name: re.fullmatch(lies, name) is not None)
    with pytest.raises(AssertionError, match=r"lost|altered|CorruptSpool"):
        _replay(recording, place, disk, 60)
