"""One segment file of a worker's log: made full-sized and synced, written from one end, sealed when full.

Writing into space that exists already means that a sync has no file size and no block map to bring to the disk:
this is what makes a group commit cheap. A segment whose messages are all done is used again under a new serial.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from postane.core.errors import CorruptSpoolError, SpoolFullError
from postane.spool import record, scan

SUFFIX = ".seg"
FREE_SUFFIX = ".free"
_BLOCK = 1 << 20  # octets that are read at once


class SegmentWriter:
    """The segment that a worker is writing. All calls may block on the disk: they run in the commit thread."""

    def __init__(self, path: Path, size: int, serial: int) -> None:
        """Makes `path` (which is not there yet) of `size` octets, from a free file of the folder if there is one.

        Raises SpoolFullError if there is no room.
        """
        self.path = path
        self.size = size
        self.serial = serial
        self.at = record.PAGE
        self._fd = -1
        try:
            self._fd, name = _empty_file(path.parent, size)
            os.pwrite(self._fd, record.pack_segment(serial), 0)
            os.fdatasync(self._fd)
            name.rename(path)
            sync_folder(path.parent)
            self._page = mmap.mmap(self._fd, record.PAGE)
        except OSError as error:
            if self._fd >= 0:
                os.close(self._fd)
            raise SpoolFullError(f"{path}: {error.strerror}") from error

    def write(self, blocks: list[bytes | bytearray | memoryview]) -> None:
        """Writes the blocks behind what is there, without a sync."""
        at = self.at
        for first in range(0, len(blocks), 1024):
            group = blocks[first : first + 1024]
            want = sum(map(len, group))
            done = os.pwritev(self._fd, group, at)
            if done < want:  # a signal or a strange file system: finish it the slow way
                rest = b"".join(group)[done:]
                while rest:
                    step = os.pwrite(self._fd, rest, at + done)
                    done, rest = done + step, rest[step:]
            at += want
        self.at = at

    def sync(self) -> None:
        """All that was written is durable, and the queue may see it."""
        os.fdatasync(self._fd)
        self._page[record.DURABLE_AT : record.DURABLE_AT + 8] = record.word(self.at)

    def seal(self) -> None:
        """Nothing more will come. The marks in the header page need no sync: recovery finds the end by itself."""
        self._page[record.SEALED_AT : record.SEALED_AT + 8] = record.word(1)
        self._page.close()
        os.close(self._fd)


def _empty_file(folder: Path, size: int) -> tuple[int, Path]:
    """An open file of `size` octets: one whose messages are done, or a new one with its blocks given out."""
    for free in folder.glob(f"*{FREE_SUFFIX}"):
        fd = os.open(free, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(fd).st_size == size:
            return fd, free
        os.close(fd)
        free.unlink()
    making = folder / f"new{FREE_SUFFIX}.tmp"
    making.unlink(missing_ok=True)
    fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.fsync(fd)
    except OSError:
        os.close(fd)
        making.unlink(missing_ok=True)
        raise
    return fd, making


def recover(path: Path) -> int:
    """Seals a segment whose writer is gone, behind the last record that checks out. Returns records kept.

    What checks out is kept even if its 250 was never said, and even behind octets that do not; it is synced first, so
    that the queue never acts on what a power cut could still take away. Raises CorruptSpoolError for no segment.
    """
    kept = 0
    with path.open("r+b") as file:
        fd = file.fileno()
        page = octets(fd, str(path), record.PAGE)
        serial = record.segment_serial(page, str(path))
        if record.read_word(page, record.SEALED_AT) == 1:
            return 0
        log = octets(fd, str(path))
        durable = max(record.read_word(page, record.DURABLE_AT), record.PAGE)
        end = record.PAGE
        for found in scan.walk(log, serial, len(log), durable):
            if isinstance(found, record.Record):
                end = found.end
                kept += 1
        os.fdatasync(fd)
        # The mark never goes back: what was safe once and does not check out now is damage, and has to be told.
        for at, value in ((record.TRUSTED_AT, durable), (record.DURABLE_AT, max(end, durable)), (record.SEALED_AT, 1)):
            os.pwrite(fd, record.word(value), at)
        os.fdatasync(fd)
    return kept


def octets(fd: int, name: str, end: int | None = None, bad: list[tuple[int, str]] | None = None) -> bytes:
    """What stands in a segment up to `end`; see `blocks`."""
    return b"".join(blocks(fd, name, end, bad))


def blocks(fd: int, name: str, end: int | None, bad: list[tuple[int, str]] | None = None) -> Iterator[bytes]:
    """The same piece by piece, read and not mapped: a bad disk is an error here, and in a map a signal that kills the
    process. Raises CorruptSpoolError; with `bad` a page that cannot be read is zeros, and noted there.
    """
    size = os.fstat(fd).st_size
    end = size if end is None else min(end, size)  # the mark of the end may be damaged too
    for at in range(0, end, _BLOCK):
        try:
            yield os.pread(fd, min(_BLOCK, end - at), at)
        except OSError as error:
            if bad is None:
                raise CorruptSpoolError(f"{name}: {error.strerror}") from error
            yield from _pages(fd, at, min(at + _BLOCK, end), bad)


def _pages(fd: int, begin: int, end: int, bad: list[tuple[int, str]]) -> Iterator[bytes]:
    for at in range(begin, end, record.PAGE):
        length = min(record.PAGE, end - at)
        try:
            yield os.pread(fd, length, at)
        except OSError as error:
            bad.append((at, error.strerror or "unreadable"))
            yield bytes(length)


def large_texts(path: Path) -> tuple[list[str], bool]:
    """The ids of the messages of a sealed segment whose text lies in a file; False: damage may hide some.

    Raises CorruptSpoolError for no segment.
    """
    with path.open("rb") as file:
        log = octets(file.fileno(), str(path))
    serial = record.segment_serial(log, str(path))
    end = record.read_word(log, record.DURABLE_AT)
    names = []
    whole = True
    # Behind the end too: a repair may find that the mark is wrong.
    for one in scan.walk(log, serial, len(log), len(log)):
        if isinstance(one, scan.Gap):
            whole = whole and 0 <= end <= one.at
        elif one.file_length:
            names.append(one.envelope.id)
    return names, whole


def mark_journaled(path: Path) -> None:
    """Says in a segment that it has a journal: one that is lost later is missed. Only a witness, so nothing depends
    on whether it can be written."""
    with suppress(OSError), path.open("r+b") as file:
        os.pwrite(file.fileno(), record.word(1), record.JOURNALED_AT)


def sync_folder(folder: Path) -> None:
    """The names in a folder are durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_root(root: Path) -> None:
    """The spool's own folder, with its name on the disk: also where a process before us made it and was killed."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(root.parent)


def lock_folder(folder: Path) -> int | None:
    """The lock of a worker's folder, held while the returned descriptor is open; None if a living worker has it."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
