"""The folder of the quarantine: one file for each message's text beside the index.

    <root>/index.sqlite3            see `index`
    <root>/texts/<time>/<spool id>  the octets of the message, written once, mode 0600; <time>: the first letters of
                                    the spool id, a folder for some nine hours

A text is on the disk, content and name, before a row names it; a row goes before its text does. A crash in between
leaves a text that nobody names: the same message comes again and finds it there, or `sweep_texts` removes it.
Only the queue process writes and removes texts, in one thread (`run`), so no sweep meets a delivery.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from postane.core.errors import CorruptSpoolError, SpoolFullError
from postane.quarantine.index import Index, make_folder
from postane.quarantine.items import Item
from postane.storage.durable import sync_folder

FOLDER = "quarantine"
_LETTERS = 5
_SYNCS = 4  # at once
_STRAY = 86_400.0  # a text without a row that is older belongs to nobody

Piece = bytes | bytearray | memoryview
T = TypeVar("T")


class Store:
    """Texts and index of one host. `reserve`: octets of the disk that are left to others."""

    def __init__(self, root: Path, reserve: int = 0) -> None:
        self.root = root
        self.index = Index(root / "index.sqlite3")
        self._texts = root / "texts"
        self._reserve = reserve
        self._named: set[Path] = set()  # folders whose names are on the disk
        # Their threads begin with their first work.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quarantine")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="quarantine-index")
        self._syncing = ThreadPoolExecutor(_SYNCS, thread_name_prefix="quarantine-sync")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """In the one thread that may change texts."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def ask(self, work: Callable[..., T], *arguments: object) -> T:
        """In a thread for what only reads or changes the index: it waits for no text."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, work, *arguments)

    # -- texts ------------------------------------------------------------------------------------------------------

    def check_room(self) -> None:
        """Raises SpoolFullError."""
        self._make(self.root)
        if self._reserve:
            free = os.statvfs(self.root)
            if free.f_bavail * free.f_frsize < self._reserve:
                raise SpoolFullError(f"{self.root}: no room on the disk")

    def write_texts(self, texts: Sequence[tuple[str, Sequence[Piece]]]) -> list[Exception | None]:
        """Messages by their spool ids, all on the disk when it returns; for each why it is not, or None.

        Syncs are most of the work and none of it the processor's: some wait side by side.
        """
        files = [_File(self.path(spool_id), pieces) for spool_id, pieces in texts]
        for file in files:
            _guarded(file, self._write)
        list(self._syncing.map(lambda file: _guarded(file, _sync), files))
        for file in files:
            _guarded(file, _rename)
        for folder in {file.path.parent for file in files}:
            try:
                sync_folder(folder)
            except OSError as error:
                for file in files:
                    if file.path.parent == folder:
                        file.error = file.error or error
        for file in files:
            file.close()
        return [file.error for file in files]

    def _write(self, file: _File) -> None:
        with suppress(FileNotFoundError):
            if file.path.stat().st_size == sum(len(piece) for piece in file.pieces):
                return  # of an earlier try
        self._make(file.path.parent)
        file.fd = os.open(file.new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        for piece in file.pieces:
            rest = memoryview(piece)
            while len(rest):
                rest = rest[os.write(file.fd, rest) :]

    def _make(self, folder: Path) -> None:
        """Also where it is there: who made it may have been killed before its name was on the disk."""
        if folder in self._named:
            return
        if folder != self.root:
            self._make(folder.parent)
        make_folder(folder)
        sync_folder(folder.parent)
        self._named.add(folder)

    def path(self, spool_id: str) -> Path:
        return self._texts / spool_id[:_LETTERS] / spool_id

    def text(self, item: Item) -> memoryview:
        """The octets of a message, where they lie. Raises CorruptSpoolError if they are not there, or not all."""
        path = self.path(item.spool_id)
        try:
            with path.open("rb") as file:
                text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (FileNotFoundError, ValueError) as error:
            raise CorruptSpoolError(f"the text of {item.id} is gone: {path}") from error
        if len(text) != item.size:
            raise CorruptSpoolError(f"the text of {item.id} is damaged: {path} has {len(text)} of {item.size} octets")
        return text

    def drop_texts(self, spool_ids: Iterable[str]) -> None:
        """Removes the texts that no row needs any more."""
        gone = set(spool_ids)
        gone -= self.index.has_text(sorted(gone))
        for spool_id in gone:
            self.path(spool_id).unlink(missing_ok=True)
        for folder in {self.path(spool_id).parent for spool_id in gone}:
            self._drop_folder(folder)

    def sweep_texts(self) -> int:
        """Removes texts that a crash left without a row. How many there were."""
        found = 0
        old = time.time() - _STRAY
        for folder in self._texts.glob("*"):
            names = {path.name.lstrip("."): path for path in folder.iterdir() if path.stat().st_mtime < old}
            for name in names.keys() - self.index.has_text(sorted(names)):
                names[name].unlink(missing_ok=True)
                found += 1
            if folder.stat().st_mtime < old:
                self._drop_folder(folder)
        return found

    def _drop_folder(self, folder: Path) -> None:
        """An empty one; the newest message may be on its way into any other."""
        self._named.discard(folder)
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def close(self) -> None:
        for threads in (self._thread, self._asking, self._syncing):
            threads.shutdown()
        self.index.close()


class _File:
    """A text on its way to the disk. `fd` is -1 where nothing has to be written."""

    __slots__ = ("error", "fd", "new", "path", "pieces")

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        self.path = path
        self.new = path.with_name(f".{path.name}")
        self.pieces = pieces
        self.fd = -1
        self.error: Exception | None = None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            if self.error is not None:
                self.new.unlink(missing_ok=True)


def _guarded(file: _File, step: Callable[[_File], None]) -> None:
    """What breaks there concerns that text alone."""
    if file.error is None:
        try:
            step(file)
        except Exception as error:
            file.error = error


def _sync(file: _File) -> None:
    if file.fd >= 0:
        os.fsync(file.fd)


def _rename(file: _File) -> None:
    if file.fd >= 0:
        file.new.rename(file.path)
