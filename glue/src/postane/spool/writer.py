"""The writing side of the spool: group commit. One SpoolWriter a process, used by its event loop.

`put` gives a future; while one commit is under way in its thread, everything put meanwhile gathers and becomes the
next commit: one write and one sync for all of it. Under no load a message waits for one sync; under load hundreds
share it. The event loop never touches the disk.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from postane.config.model import Spool
from postane.core.envelope import Envelope
from postane.core.errors import SpoolFullError, TemporaryError
from postane.core.ids import make_id
from postane.core.ports import Body
from postane.spool import record
from postane.spool.draft import Draft
from postane.spool.segment import SUFFIX, SegmentWriter, large_texts, lock_folder, recover, sync_folder

WAKE = "wake"  # the FIFO by which workers wake the queue
LARGE = "large"

_Block = bytes | bytearray | memoryview
_Pending = tuple[asyncio.Future[None], Envelope, bytes, Body]


class SpoolWriter:
    """The spool as smtpd.handler.Intake wants it. Make it in the process that uses it, after any fork."""

    def __init__(self, root: Path, settings: Spool) -> None:
        """Takes a free worker's folder under `root` and brings it in order after a crash."""
        self._settings = settings
        self.root = root
        self.folder, self._lock = _take_folder(root)
        for segment in sorted(self.folder.glob(f"*{SUFFIX}")):
            recover(segment)
        self._large = self.folder / LARGE
        self._large.mkdir(mode=0o700, exist_ok=True)
        _drop_unfinished(self.folder)
        self._number = _last_number(self.folder)
        self._segment: SegmentWriter | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._waiting: list[_Pending] = []
        self._commit_under_way: asyncio.Future[None] | None = None
        self._wake = _open_wake(root)
        self._space_seen = 0.0
        self._space = 0
        self.syncs = 0

    def new_id(self) -> str:
        return make_id(time.time(), os.urandom(10))

    def draft(self, message_id: str) -> Draft:
        """Where the text of a message is gathered while it arrives."""
        return Draft(self._large / message_id, self._settings.large_message)

    def room_for(self, size: int) -> bool:
        """Asks the file system at most four times a second."""
        now = time.monotonic()
        if now - self._space_seen > 0.25:
            stat = os.statvfs(self.folder)
            self._space = stat.f_bavail * stat.f_frsize
            self._space_seen = now
        return self._space - self._settings.reserve >= size

    def put(self, envelope: Envelope, head: bytes, body: Body) -> asyncio.Future[None]:
        """Done once the message (`head`, our trace headers, on top of `body`) and its envelope are synced to disk.

        The future fails with SpoolFullError (no space, quota) or TemporaryError; then nothing was accepted.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, envelope, head, body))
        if self._commit_under_way is None:
            self._start()
        return future

    async def close(self) -> None:
        """Waits for what is under way and gives the folder free."""
        while self._commit_under_way is not None:
            await asyncio.wait([self._commit_under_way])
            await asyncio.sleep(0)  # its callback may have begun the next
        self._thread.shutdown()
        if self._segment is not None:
            self._segment.seal()
        os.close(self._lock)
        os.close(self._wake)

    # -- the commit -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        batch, self._waiting = self._waiting, []
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._commit, batch)
        self._commit_under_way = work
        work.add_done_callback(lambda done: self._finished(batch, done))

    def _finished(self, batch: list[_Pending], done: asyncio.Future[None]) -> None:
        # The next commit is under way before the answers of this one are written: disk and network work side by side.
        self._commit_under_way = None
        if self._waiting:
            self._start()
        error = done.exception()
        for future, *_ in batch:
            if future.done():
                continue  # its session is gone; the message is kept all the same
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
        if error is None:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._wake, b"w")

    def _commit(self, batch: list[_Pending]) -> None:
        """In the thread: all of the batch, or an error for all of it. What an error leaves behind is never read."""
        try:
            self._write(batch)
        except OSError as error:
            self._abandon()
            kind = SpoolFullError if error.errno in (28, 122) else TemporaryError  # ENOSPC, EDQUOT
            raise kind(f"{self.folder}: {error.strerror}") from error
        except SpoolFullError:
            self._abandon()
            raise

    def _write(self, batch: list[_Pending]) -> None:
        segment = self._segment
        blocks: list[_Block] = []
        room = segment.size - segment.at if segment else 0
        any_file = False
        for _, envelope, head, body in batch:
            text: list[_Block] = [head]
            file = (0, 0)
            if isinstance(body, Draft) and body.spilled:
                body.sync()
                any_file = True
                file = (body.size, record.crc(body.chunks()))
            else:
                text.extend(body.chunks())
            inline = (sum(map(len, text)), record.crc(text))
            packed = record.pack_record(segment.serial if segment else 0, envelope, inline, file)
            need = len(packed) + inline[0]
            if segment is None or need > room:
                self._end_segment(blocks)
                blocks = []
                segment = self._segment = self._new_segment(need)
                room = segment.size - segment.at
                packed = record.pack_record(segment.serial, envelope, inline, file)
            blocks.append(packed)
            blocks.extend(text)
            room -= need
        if any_file:
            sync_folder(self._large)
            self.syncs += 1
        assert segment is not None
        segment.write(blocks)
        segment.sync()
        self.syncs += 1

    def _end_segment(self, blocks: list[_Block]) -> None:
        """The rest of a batch that still fits goes into the old segment, which is then full."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.write(blocks)
            segment.sync()
            self.syncs += 1
            segment.seal()

    def _new_segment(self, least: int) -> SegmentWriter:
        self._number += 1
        size = max(self._settings.segment_size, record.PAGE + least)
        return SegmentWriter(self.folder / f"{self._number:08}{SUFFIX}", size, secrets.randbits(64))

    def _abandon(self) -> None:
        """After an error the log may end in a torn record: it is sealed there and a new segment begins."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal()


def _take_folder(root: Path) -> tuple[Path, int]:
    """The first folder w0, w1, … that no living process holds, and its lock."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(1024):
        folder = root / f"w{number}"
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                sync_folder(root)
        lock = lock_folder(folder)
        if lock is not None:
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
        for message_id in large_texts(segment):
            strays.pop(message_id, None)
    for path in strays.values():
        path.unlink(missing_ok=True)
