"""The queue's view: all workers' segments read as one stream of messages, with a journal of what became of each.

    poll → messages that are durable · record / finish → journal lines · sync → one round of disk syncs for all of them

A segment and its journal live and die together: when every message of a sealed segment is done, the segment becomes a
free file for its worker and the journal goes. The order of steps makes each crash harmless: a message's file is
unlinked only after its "done" line is synced, a journal only after its segment has lost its name.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from postane.config.model import Spool
from postane.core.envelope import Envelope
from postane.core.errors import CorruptSpoolError, TemporaryError
from postane.core.outcome import Progress
from postane.core.ports import Body, Claimed
from postane.spool import journal, record, scan
from postane.spool.inflight import InFlight
from postane.spool.journal import Journal, Line
from postane.spool.segment import (
    FREE_SUFFIX,
    SUFFIX,
    blocks,
    lock_folder,
    make_root,
    mark_journaled,
    octets,
    recover,
    sync_folder,
)
from postane.spool.writer import LARGE, WAKE, SpoolWriter

log = structlog.get_logger("spool")

JOURNAL_SUFFIX = ".jnl"
IN_FLIGHT = "inflight"
_FREE_KEPT = 4  # free files a worker's folder keeps for its next segments
_RESIDENT = 4 * 1024 * 1024  # octets of a segment that are read before its pages are given back
_PAUSE = 0.005  # seconds between two looks at the spool: workers commit a thousand times a second
_RACY = 1_000_000_000  # nanoseconds
_NOTHING = Progress()  # of all that were never tried


class SpooledMessage:
    """A core.ports.Claimed: a place in a segment. What is written there is in memory only while it is used."""

    __slots__ = ("_at", "_found", "doubtful", "id", "progress", "segment", "size")

    def __init__(self, segment: _Segment, at: int, found: record.Record, progress: Progress) -> None:
        self.segment = segment
        self._at = at
        self._found: record.Record | None = found
        self.id = found.envelope.id
        self.progress = progress
        self.size = found.size
        self.doubtful = False

    @property
    def found(self) -> record.Record:
        """Raises CorruptSpoolError where the record does not check out any more."""
        found = self._found or record.read_record(self.segment.view, self._at, self.segment.serial)
        if found is None:
            raise CorruptSpoolError(f"{self.segment.path}: message {self.id} does not check out")
        return found

    @property
    def envelope(self) -> Envelope:
        return self.found.envelope

    @property
    def large(self) -> bool:
        """True if a part of it may lie in a file."""
        try:
            return bool(self.found.file_length)
        except CorruptSpoolError:
            return True

    def wake(self) -> None:
        """It is about to be used."""
        self._found = self.found

    def rest(self) -> None:
        self._found = None

    def chunks(self) -> Sequence[bytes | memoryview]:
        """The octets where they lie: nothing is copied. Raises CorruptSpoolError where a CRC does not fit."""
        found = self.found
        inline = self.segment.view[found.text_at : found.end]
        if record.crc([inline]) != found.text_crc:
            raise CorruptSpoolError(f"{self.segment.path}: message {self.id} does not check out")
        if not found.file_length:
            return [inline]
        path = self.segment.large_file(self.id)
        try:
            with path.open("rb") as file:
                text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (FileNotFoundError, ValueError) as error:  # it is gone, or empty
            raise CorruptSpoolError(f"{path}: {error}") from error
        except OSError as error:  # no descriptor, no memory, a bad disk: the message may be whole
            raise TemporaryError(f"{path}: {error.strerror}") from error
        if len(text) != found.file_length or record.crc([text]) != found.file_crc:
            raise CorruptSpoolError(f"{path}: the message does not check out")
        return [inline, text]

    def read(self) -> bytes:
        return b"".join(self.chunks())


class _Segment:
    """One segment that is read: how far, and how much of it still lives."""

    def __init__(self, path: Path) -> None:
        """Raises CorruptSpoolError for a file that is no segment."""
        self.path = path
        with path.open("rb") as file:
            page = octets(file.fileno(), str(path), record.PAGE)
            self.serial = record.segment_serial(page, str(path))
            # What a bad disk cannot read is met here, where it is an error: in a map it would kill the process.
            for _ in blocks(file.fileno(), str(path), record.read_word(page, record.DURABLE_AT)):
                pass
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)
        self.journal = Journal(path.with_suffix(JOURNAL_SUFFIX))
        self.at = record.PAGE
        self.living = 0
        self.read_up = False  # sealed, and read to its end
        self.corrupt = False  # something in it is damaged: it stays until an operator has seen it
        self.journal_lost = False
        self.known: dict[str, Progress | None] = {}  # by the journal, until all that it speaks of is read; None: done
        self._resident = 0

    def large_file(self, message_id: str) -> Path:
        return self.path.parent / LARGE / message_id

    def read_journal(self) -> None:
        """Where the journal is gone, what was delivered is delivered again: all messages are in doubt."""
        if record.read_word(self.view, record.JOURNALED_AT) == 1 and not self.journal.path.exists():
            log.error("journal_lost", file=str(self.journal.path), hint="its messages may come twice")
            self.journal_lost = True
        try:
            lines = journal.read(self.journal.path)
        except OSError as error:
            hint = "its messages may come twice"
            log.error("journal_lost", file=str(self.journal.path), reason=str(error), hint=hint)
            self.journal_lost = True
            lines = []
        for line in lines:
            if line.done:
                self.known[line.message_id] = None
            elif line.progress is not None:
                self.known[line.message_id] = (self.known.get(line.message_id) or _NOTHING).merged(line.progress)

    def read_on(self, most: int) -> list[SpooledMessage]:
        """New durable messages, at most so many."""
        sealed = record.read_word(self.view, record.SEALED_AT) == 1
        durable = record.read_word(self.view, record.DURABLE_AT)
        if durable < 0 and sealed:
            log.error("segment_corrupt", file=str(self.path), at=record.DURABLE_AT, hint="postane queue check")
            self.corrupt = True
            durable = scan.log_end(self._map, self.serial)
        trusted = record.read_word(self.view, record.TRUSTED_AT) if sealed else -1
        found: list[SpooledMessage] = []
        began = self.at
        while self.at < durable and len(found) < most:
            one = record.read_record(self.view, self.at, self.serial)
            if one is None or (0 <= trusted < one.end and not record.text_ok(self.view, one)):
                self._skip(one, durable, torn=0 <= trusted <= self.at)
                continue
            progress = self.known.get(one.envelope.id, _NOTHING)
            if progress is not None:
                found.append(SpooledMessage(self, self.at, one, progress))
            self.at = one.end
        self.living += len(found)
        if self.at >= durable:
            self.known = {}
            self.read_up = sealed
        self._resident += self.at - began
        if self._resident >= _RESIDENT or (self.read_up and self._resident):
            # The pages that were read stay in the system's cache; they need not count as this process's memory.
            self._resident = 0
            self._map.madvise(mmap.MADV_DONTNEED)
        return found

    def _skip(self, one: record.Record | None, durable: int, *, torn: bool) -> None:
        """Goes on behind octets that do not check out: mail may follow. Nothing is deleted.

        `torn`: they were never known to be safe, so no 250 was said for them, or the disk lied about the very last.
        """
        after = scan.next_record(self._map, self.at + 1 if one is None else one.end, durable, self.serial)
        facts = {"file": str(self.path), "at": self.at, "octets": after - self.at}
        if one is not None:
            facts["trace_id"] = one.envelope.id
        if torn:
            log.warning("segment_torn", **facts)
        else:
            log.error("segment_corrupt", **facts, hint="postane queue check")
            self.corrupt = True
        self.at = after

    def twice(self, message: SpooledMessage) -> None:
        """The message is known from elsewhere already: its twin is delivered."""
        log.error("message_twice", file=str(self.path), trace_id=message.id, hint="postane queue check")
        self.living -= 1
        self.corrupt = True

    @property
    def spent(self) -> bool:
        return self.read_up and not (self.corrupt or self.living or self.journal.dirty)

    def close(self) -> None:
        self.journal.close()
        with suppress(BufferError):  # a delivery that was cancelled may still hold a piece of it
            self.view.release()
            self._map.close()


class SpoolView:
    """A core.ports.QueueStore over the spool folder `root`."""

    def __init__(self, root: Path, settings: Spool) -> None:
        """Raises TemporaryError if another queue process holds the spool."""
        make_root(root)
        for _ in range(5):  # a check of the spool takes the lock for an instant
            if (lock := lock_folder(root)) is not None:
                break
            time.sleep(0.02)
        else:
            raise TemporaryError(f"{root}: another queue process is running")
        self._lock = lock
        self.root = root
        self._writer = SpoolWriter(root, settings)
        self._segments: dict[Path, _Segment] = {}
        self._folders: dict[Path, list[_Segment]] = {}  # of each worker, with its segments that are not read up
        self._looked_at: dict[Path, int] = {}  # the change of a folder after which its names are known
        self._unreadable: set[Path] = set()
        self._messages: dict[str, SpooledMessage] = {}
        self._gone: list[Path] = []
        self._flight = InFlight(root / IN_FLIGHT, self._writer.new_id())
        self._over: list[tuple[str, bool]] = []  # deliveries that ended, and whether the message is done
        self._first = True
        self._syncing: asyncio.Task[None] | None = None
        self._next_sync: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._fifo = os.open(root / WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._waited = 0.0  # when `wait` last ended
        self._orphans_seen = 0.0

    # -- reading --------------------------------------------------------------------------------------------------

    def poll(self, most: int = 1_000_000) -> list[Claimed]:
        self._adopt_orphans()
        found = self._read(most)
        if not found:  # then there is time to look for a new worker's folder
            self._folders = self._list_folders()
            found = self._read(most)
        if self._first and len(found) < most:
            self._first = False
            self._flight.settle(self._messages, min(self._messages, default=""))
        return found

    def _list_folders(self) -> dict[Path, list[_Segment]]:
        return {folder: self._folders.get(folder, []) for folder in sorted(self.root.glob("w[0-9]*"))}

    def _read(self, most: int) -> list[Claimed]:
        found: list[Claimed] = []
        for folder, unread in self._folders.items():
            # A worker seals a segment before it begins the next: while one is open there is no new name to look for.
            while unread or self._open(folder, unread):
                segment = unread[0]
                for message in segment.read_on(most - len(found)):
                    if message.id in self._messages:
                        segment.twice(message)
                        continue
                    message.doubtful = segment.journal_lost or self._flight.doubtful(message.id)
                    self._messages[message.id] = message
                    found.append(message)
                if len(found) >= most:
                    return found
                if not segment.read_up:
                    break
                unread.remove(segment)
        return found

    def _open(self, folder: Path, unread: list[_Segment]) -> bool:
        """Puts the segments of a folder that were not there before into `unread`, in order. False: there are none."""
        changed = folder.stat().st_mtime_ns
        if self._looked_at.get(folder) == changed:
            return False
        # A change of the last moment may be followed by another under the same time.
        if time.time_ns() - changed > _RACY:
            self._looked_at[folder] = changed
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path in self._segments or path in self._unreadable:
                continue
            try:
                segment = _Segment(path)
            except FileNotFoundError:
                continue
            except (CorruptSpoolError, ValueError) as error:
                self._unreadable_is(path, error)
                continue
            segment.read_journal()
            self._segments[path] = segment
            unread.append(segment)
        return bool(unread)

    def _unreadable_is(self, path: Path, error: Exception) -> None:
        log.error("segment_unreadable", file=str(path), reason=str(error), hint="postane queue check")
        self._unreadable.add(path)

    def _adopt_orphans(self) -> None:
        """Seals what dead workers left, at the first poll and every few seconds: their messages are mail like any."""
        now = asyncio.get_running_loop().time()
        if self._orphans_seen and now - self._orphans_seen < 2:
            return
        self._folders = self._list_folders()
        if not self._orphans_seen:
            for folder in self._folders:
                self._drop_strays(folder)
        self._orphans_seen = now
        for folder in self._folders:
            if folder == self._writer.folder or (lock := lock_folder(folder)) is None:
                continue
            try:
                for path in folder.glob(f"*{SUFFIX}"):
                    if path in self._unreadable or (path in self._segments and self._segments[path].read_up):
                        continue
                    try:
                        recover(path)
                    except CorruptSpoolError as error:
                        self._unreadable_is(path, error)
            finally:
                os.close(lock)

    def _drop_strays(self, folder: Path) -> None:
        """Journals without a segment, of a crash between two steps of `_retire`. At the start, when none is retired."""
        for path in folder.glob(f"*{JOURNAL_SUFFIX}"):
            segment = path.with_suffix(SUFFIX)
            if segment.exists():
                continue
            waiting = journal.waiting(journal.read(path))
            if waiting:
                # No step of ours leaves this: the segment was lost with mail in it. What names that mail is kept.
                log.error("segment_lost", file=str(segment), messages=sorted(waiting), hint="postane queue check")
            else:
                path.unlink(missing_ok=True)

    # -- writing --------------------------------------------------------------------------------------------------

    def begin(self, message_id: str) -> None:
        self._messages[message_id].wake()
        self._flight.begin(message_id)

    def end(self, message_id: str) -> None:
        self._over.append((message_id, False))

    def record(self, message_id: str, update: Progress) -> None:
        self._messages[message_id].segment.journal.note(Line(message_id, progress=update))

    def finish(self, message_id: str) -> None:
        message = self._messages.pop(message_id)
        segment = message.segment
        if message.large:
            self._gone.append(segment.large_file(message_id))
        segment.living -= 1
        segment.journal.note(Line(message_id, done=True))
        self._over.append((message_id, True))

    async def sync(self) -> None:
        """A sync that is under way may have begun too early for the caller; the next one serves all who came since."""
        if self._syncing is not None and not self._syncing.done():
            if self._next_sync is None:
                self._next_sync = asyncio.create_task(self._sync_after(self._syncing), name="spool-sync")
            await asyncio.shield(self._next_sync)
            return
        self._syncing = asyncio.create_task(self._sync(), name="spool-sync")
        await asyncio.shield(self._syncing)

    async def _sync_after(self, earlier: asyncio.Task[None]) -> None:
        await asyncio.wait([earlier])
        self._syncing, self._next_sync = self._next_sync, None
        await self._sync()

    async def _sync(self) -> None:
        segments = self._segments.values()
        work = [(segment.journal, segment.journal.take()) for segment in segments if segment.journal.dirty]
        gone, self._gone = self._gone, []
        over, self._over = self._over, []
        loop = asyncio.get_running_loop()
        try:
            if work or gone:
                await loop.run_in_executor(None, _sync_journals, work, gone)
        except OSError as error:
            for lines, data in work:
                lines.put_back(data)
            self._gone = gone + self._gone
            self._over = over + self._over
            raise TemporaryError(f"the queue's journal cannot be written: {error}") from error
        self._flight.over(over)
        # A segment stays known until its file has lost its name: a poll meanwhile must not read it anew.
        spent = [path for path, segment in self._segments.items() if segment.spent]
        if spent:
            try:
                await loop.run_in_executor(None, _retire, spent)
            except OSError as error:
                raise TemporaryError(f"a spent segment cannot be given back: {error}") from error
            for path in spent:
                self._segments.pop(path).close()

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None:
        await self._writer.put(envelope, head, body)
        self._woken.set()

    def new_id(self) -> str:
        return self._writer.new_id()

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 (the port's name)
        loop = asyncio.get_running_loop()
        # Under load one look finds what many commits brought; a lone message is seen at once.
        await asyncio.sleep(self._waited + _PAUSE - loop.time())
        # Only now is it listened to: a worker that calls meanwhile does not wake this process.
        loop.add_reader(self._fifo, self._on_wake)
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the wake-up.
            with suppress(TimeoutError):
                async with asyncio.timeout(max(timeout, 0.001)):
                    await self._woken.wait()
        finally:
            loop.remove_reader(self._fifo)
            self._waited = loop.time()
        self._woken.clear()

    def _on_wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._fifo, 65_536)
        self._woken.set()

    async def close(self) -> None:
        await self.sync()
        await self._writer.close()
        for segment in self._segments.values():
            segment.close()
        self._flight.close()
        os.close(self._fifo)
        os.close(self._lock)


def _sync_journals(work: list[tuple[Journal, bytes]], gone: list[Path]) -> None:
    """In a thread: all lines to their files, then one sync a file, then what they allow to be unlinked."""
    for lines, data in work:
        lines.write(data)
    for lines, _ in work:
        lines.sync()
    new = [lines for lines, _ in work if not lines.named]
    for folder in {lines.path.parent for lines in new}:
        sync_folder(folder)
    for lines in new:
        lines.named = True
        mark_journaled(lines.path.with_suffix(SUFFIX))
    for path in gone:
        path.unlink(missing_ok=True)


def _retire(paths: list[Path]) -> None:
    """Spent segments become free files, or go where there are enough; then their journals go. In a thread."""
    for path in paths:
        with suppress(FileNotFoundError):  # an earlier try got as far as this
            if len(list(path.parent.glob(f"*{FREE_SUFFIX}"))) < _FREE_KEPT:
                path.rename(path.with_suffix(FREE_SUFFIX))
            else:
                path.unlink()
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
    for path in paths:
        path.with_suffix(JOURNAL_SUFFIX).unlink(missing_ok=True)
