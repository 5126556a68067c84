"""The writing side of the spool: group commit. One SpoolWriter a process, used by its event loop.

While one commit is under way in its thread, everything kept meanwhile gathers and becomes the next commit: one write
and one sync for all of it. A message that comes alone is synced at once; where other texts are on their way it waits
for them, for a moment, and dozens share the sync.

The event loop packs the records and never touches the disk for them; the thread only writes and syncs, so that it
holds the interpreter for a moment and not for each message. What a commit wrote before it met an error counts.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from postane.config.model import Spool
from postane.core.envelope import Envelope
from postane.core.errors import CorruptSpoolError, PostaneError, SpoolFullError, TemporaryError
from postane.core.ids import make_id
from postane.core.ports import Body
from postane.spool import record
from postane.spool.draft import Draft
from postane.spool.segment import SUFFIX, SegmentWriter, large_texts, lock_folder, make_root, recover, sync_folder

WAKE = "wake"  # the FIFO by which workers wake the queue
LARGE = "large"

# Seconds from the beginning of one commit to the next while other texts are still coming in. A commit costs some
# 150 µs of both processors whatever is in it, so under load this is a third of the work of taking a message in.
_TOGETHER = 0.002

_Block = bytes | bytearray | memoryview
Done = Callable[[PostaneError | None], None]
_Entry = tuple[Done, Envelope, bytes, Body]


@dataclass(slots=True)
class _Run:
    """Records that go into one segment: the one of that serial number, or a new one of that size."""

    serial: int
    size: int
    room: int  # octets of the segment that are still free behind the records
    entries: list[_Entry] = field(default_factory=list)
    blocks: list[_Block] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)  # texts in files of their own

    def add(self, entry: _Entry) -> bool:
        """False, and nothing done, if the record does not fit any more."""
        _, envelope, head, body = entry
        text: list[_Block] = [head]
        file = (0, 0)
        if isinstance(body, Draft) and body.spilled:
            file = (body.size, body.crc())
        else:
            text += body.chunks()
        inline = (sum(map(len, text)), record.crc(text))
        packed = record.pack_record(self.serial, envelope, inline, file)
        need = len(packed) + inline[0]
        if need > self.room:
            if self.entries or self.size > record.PAGE + self.room:
                return False
            # Nothing is in the segment yet and it is not made: it may be as large as its first record.
            self.size, self.room = record.PAGE + need, need
        self.room -= need
        self.entries.append(entry)
        self.blocks.append(packed)
        self.blocks += text
        if file[0]:
            assert isinstance(body, Draft)
            self.drafts.append(body)
        return True


class SpoolWriter:
    """The spool as smtpd.handler.Intake wants it. Make it in the process that uses it, after any fork."""

    def __init__(self, root: Path, settings: Spool) -> None:
        """Takes a free worker's folder under `root` and brings it in order after a crash."""
        self._settings = settings
        self.root = root
        self.folder, self._lock = _take_folder(root)
        for segment in sorted(self.folder.glob(f"*{SUFFIX}")):
            with suppress(CorruptSpoolError):  # the queue tells it, and keeps the file
                recover(segment)
        self._large = self.folder / LARGE
        self._large.mkdir(mode=0o700, exist_ok=True)
        _drop_unfinished(self.folder)
        self._number = _last_number(self.folder)
        self._segment: SegmentWriter | None = None  # the thread's
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: SimpleQueue[Sequence[_Run] | None] = SimpleQueue()
        self._thread = Thread(target=self._commits, name="spool", daemon=True)
        self._thread.start()
        self._runs: list[_Run] = []  # gathers for the next commit
        self._last: _Run | None = None  # where the next record goes, if it fits
        self._coming = 0  # texts that are being received
        self._begun = 0.0  # when the last commit was
        self._next: asyncio.Handle | None = None  # what will begin the next
        self._next_at = 0.0
        self._busy = False  # the thread works
        self._idle = asyncio.Event()
        self._wake = _open_wake(root)
        self._space_seen = 0.0
        self._space = 0
        self.syncs = 0

    def new_id(self) -> str:
        return make_id(time.time(), os.urandom(10))

    def draft(self, message_id: str) -> Draft:
        """Where the text of a message is gathered while it arrives."""
        self._coming += 1
        return Draft(self._large, message_id, self._settings.large_message, self._arrived)

    def _arrived(self) -> None:
        self._coming -= 1

    def room_for(self, size: int) -> bool:
        """Asks the file system at most four times a second."""
        now = time.monotonic()
        if now - self._space_seen > 0.25:
            stat = os.statvfs(self.folder)
            self._space = stat.f_bavail * stat.f_frsize
            self._space_seen = now
        return self._space - self._settings.reserve >= size

    def keep(self, envelope: Envelope, head: bytes, body: Body, done: Done) -> None:
        """Calls `done(None)` once the message (`head`, our trace headers, on top of `body`) and its envelope are
        synced to disk, or `done(error)`: SpoolFullError (no space, quota) or TemporaryError; then it was not accepted.
        """
        loop = self._loop = asyncio.get_running_loop()
        if isinstance(body, Draft):
            body.end()
        try:
            self._gather((done, envelope, head, body))
        except SpoolFullError as error:  # the rest of a large text found no room
            loop.call_soon(done, error)
            return
        if not self._busy:
            self._plan(loop)

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None:
        """`keep` for who can wait; raises its error."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: PostaneError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self.keep(envelope, head, body, done)
        await future

    async def close(self) -> None:
        """Waits for what is under way and gives the folder free."""
        while self._busy or self._runs:
            self._idle.clear()
            await self._idle.wait()
        self._work.put(None)
        self._thread.join()
        if self._segment is not None:
            self._segment.seal()
        os.close(self._lock)
        os.close(self._wake)

    # -- in the event loop ----------------------------------------------------------------------------------------

    def _gather(self, entry: _Entry) -> None:
        run = self._last
        if run is not None and run.add(entry):
            if not self._runs:
                self._runs.append(run)
            return
        run = self._last = _Run(secrets.randbits(64), self._settings.segment_size, 0)
        run.room = run.size - record.PAGE
        run.add(entry)
        self._runs.append(run)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        """The next commit begins when all texts are here that are on their way, or when it has waited long enough."""
        now = loop.time()
        at = self._begun + _TOGETHER if self._coming else now
        if self._next is not None:
            if self._next_at <= max(at, now):
                return
            self._next.cancel()
        self._next_at = at
        # "Soon" is the end of this turn of the loop: texts that came with it still share the commit.
        self._next = loop.call_at(at, self._start) if at > now else loop.call_soon(self._start)

    def _start(self) -> None:
        self._next = None
        if self._busy or not self._runs:
            return
        assert self._loop is not None
        self._busy = True
        self._begun = self._loop.time()
        runs, self._runs = self._runs, []
        assert self._last is not None
        # What comes next goes behind it into the same segment, if it fits.
        self._last = _Run(self._last.serial, self._last.size, self._last.room)
        self._work.put(runs)

    def _finished(self, runs: Sequence[_Run], good: int, error: PostaneError | None) -> None:
        if error is not None:
            # The segment was given up: what waits for it is packed anew, for the next.
            again = [entry for run in self._runs for entry in run.entries]
            self._runs, self._last = [], None
            for entry in again:
                self._gather(entry)
        self._busy = False
        if not self._runs:
            self._idle.set()
        elif self._coming:
            assert self._loop is not None
            self._plan(self._loop)
        else:
            # It is under way before the answers of this one are written: disk and network work side by side.
            self._start()
        for number, run in enumerate(runs):
            for done, *_ in run.entries:
                done(None if number < good else error)
        if good:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._wake, b"w")

    # -- in the thread --------------------------------------------------------------------------------------------

    def _commits(self) -> None:
        while (runs := self._work.get()) is not None:
            good, error = self._commit(runs)
            assert self._loop is not None
            with suppress(RuntimeError):  # the loop is closed: the process ends, and nobody waits
                self._loop.call_soon_threadsafe(self._finished, runs, good, error)

    def _commit(self, runs: Sequence[_Run]) -> tuple[int, PostaneError | None]:
        """How many runs are safe, and why not more."""
        good = 0
        try:
            for run in runs:
                self._write(run)
                good += 1
        except OSError as error:
            self._give_up()
            kind = SpoolFullError if error.errno in (28, 122) else TemporaryError  # ENOSPC, EDQUOT
            return good, kind(f"{self.folder}: {error.strerror}")
        except (SpoolFullError, TemporaryError) as error:
            self._give_up()
            return good, error
        return good, None

    def _write(self, run: _Run) -> None:
        for draft in run.drafts:
            draft.sync()
            self.syncs += 1
        if run.drafts:
            sync_folder(self._large)
            self.syncs += 1
        segment = self._segment
        if segment is None or segment.serial != run.serial:
            self._give_up()
            self._number += 1
            name = f"{self._number:08}{SUFFIX}"
            segment = self._segment = SegmentWriter(self.folder / name, run.size, run.serial)
        segment.write(run.blocks)
        segment.sync()
        self.syncs += 1

    def _give_up(self) -> None:
        """The segment is full, or after an error may end in a torn record: it is sealed and a new one begins."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal()


def _take_folder(root: Path) -> tuple[Path, int]:
    """The first folder w0, w1, … that no living process holds, and its lock."""
    make_root(root)
    for number in range(1024):
        folder = root / f"w{number}"
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        lock = lock_folder(folder)
        if lock is not None:
            sync_folder(root)  # whoever made the folder may have died before its name was on the disk
            return folder, lock
    raise TemporaryError(f"{root}: all 1024 folders are held by living processes")


def _last_number(folder: Path) -> int:
    """The highest segment number ever used that is still seen; journals outlive their segments for a moment."""
    return max((int(name.stem) for name in folder.iterdir() if name.stem.isdigit()), default=0)


def _open_wake(root: Path) -> int:
    """The FIFO that wakes the queue. Opened for reading too: then it can be opened while nobody reads yet."""
    path = root / WAKE
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _drop_unfinished(folder: Path) -> None:
    """Large texts that no record names: their peers never read 250."""
    strays = {path.name: path for path in (folder / LARGE).iterdir()}
    if not strays:
        return
    for segment in folder.glob(f"*{SUFFIX}"):
        try:
            names, whole = large_texts(segment)
        except CorruptSpoolError:
            whole = False
        if not whole:
            return  # one of them may be named by a record that is damaged: an operator looks first
        for message_id in names:
            strays.pop(message_id, None)
    for path in strays.values():
        path.unlink(missing_ok=True)
