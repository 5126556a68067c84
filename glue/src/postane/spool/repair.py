"""Bringing a damaged spool in order: what checks out stays mail, what does not is set aside in `damaged/`.

Only where no living process works: the queue process must be stopped, and folders of living workers are left alone.
The order of steps makes a crash harmless: octets are safe in `damaged/` before they leave the file they were in, and
a file is replaced whole, by a rename. A second repair finishes what a first began.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from postane.core.errors import CorruptSpoolError, NotFoundError, TemporaryError
from postane.spool import record
from postane.spool.check import Walk
from postane.spool.findings import DAMAGED, Report, Segment, piece_name
from postane.spool.segment import SUFFIX, lock_folder, recover, sync_folder
from postane.spool.view import JOURNAL_SUFFIX
from postane.spool.writer import LARGE

_Blocks = Iterable[bytes | memoryview]


def repair(root: Path) -> Report:
    """Verifies the spool and mends it. Raises NotFoundError, TemporaryError while the queue process runs, OSError.

    To be called as the owner of the spool: files that are made belong to the caller.
    """
    if not root.is_dir():
        raise NotFoundError(f"{root}: there is no spool")
    with ExitStack() as locks:
        if not _lock(root, locks):
            raise TemporaryError(f"{root}: the queue process is running", hint="systemctl stop postane-queue")
        held = set()
        for folder in sorted(root.glob("w[0-9]*")):
            if not _lock(folder, locks):
                held.add(folder)
                continue
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                with suppress(CorruptSpoolError):  # the walk meets it again
                    recover(path)
        return Walk(root, _Mender(root), frozenset(held)).run()


def _lock(folder: Path, locks: ExitStack) -> bool:
    fd = lock_folder(folder)
    if fd is None:
        return False
    locks.callback(os.close, fd)
    return True


class _Mender:
    """A check.Mender that acts."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._aside = root / DAMAGED

    def segment(self, found: Segment) -> None:
        path, log = found.path, found.log
        with memoryview(log) as view:
            if found.serial is None:
                self._set_aside(piece_name(path, 0), [view])
                path.unlink()
                sync_folder(path.parent)
                return
            if found.rewrite:
                self._rewrite(found, view)
        if found.lines:
            self._cut_journal(found)

    def lost_journal(self, path: Path, *, keep: bool) -> None:
        if keep:
            self._set_aside(piece_name(path, 0), [path.read_bytes()])
        path.unlink()
        sync_folder(path.parent)

    def half_made(self, path: Path) -> None:
        path.unlink()

    def text(self, path: Path, aside: str) -> None:
        path.rename(self._free_name(aside))
        sync_folder(self._aside)

    def _rewrite(self, found: Segment, view: memoryview) -> None:
        """The segment with the records that stay, and nothing else."""
        path = found.path
        assert found.serial is not None
        gone = []
        for piece in found.away:
            name = piece_name(path, piece.at)
            self._set_aside(name, [view[piece.at : piece.end]])
            large = path.parent / LARGE / piece.large
            if piece.large and large.exists():
                os.link(large, self._free_name(f"{name}.text"))
                gone.append(large)
        if gone:
            sync_folder(self._aside)
        page = bytearray(record.pack_segment(found.serial))
        end = record.PAGE + sum(end - at for at, end in found.kept.values())
        words = {record.DURABLE_AT: end, record.SEALED_AT: 1}
        # Where the journal is lost the queue has to know: what comes twice is counted.
        marked = len(view) >= record.PAGE and record.read_word(view, record.JOURNALED_AT) == 1
        if marked or path.with_suffix(JOURNAL_SUFFIX).exists():
            words[record.JOURNALED_AT] = 1
        for at, value in words.items():
            page[at : at + 8] = record.word(value)
        self._replace(path, [bytes(page), *(view[at:end] for at, end in found.kept.values())])
        for large in gone:
            large.unlink()

    def _cut_journal(self, found: Segment) -> None:
        """The journal without the lines that go."""
        path = found.path.with_suffix(JOURNAL_SUFFIX)
        data = path.read_bytes()
        stays = []
        at = 0
        for piece in sorted(found.lines, key=lambda piece: piece.at):
            self._set_aside(piece_name(path, piece.at), [data[piece.at : piece.end]])
            stays.append(data[at : piece.at])
            at = piece.end
        self._replace(path, [*stays, data[at:]])

    def _folder(self) -> Path:
        if not self._aside.exists():
            self._aside.mkdir(mode=0o700)
            sync_folder(self._root)
        return self._aside

    def _set_aside(self, name: str, blocks: _Blocks) -> None:
        """Nothing that lies there is overwritten: segment numbers may come again."""
        self._make(self._free_name(name), blocks)
        sync_folder(self._aside)

    def _free_name(self, name: str) -> Path:
        path = self._folder() / name
        number = 1
        while path.exists():
            number += 1
            path = self._aside / f"{name}.{number}"
        return path

    def _replace(self, path: Path, blocks: _Blocks) -> None:
        making = path.with_name(f"{path.name}.new")
        making.unlink(missing_ok=True)
        self._make(making, blocks)
        making.rename(path)
        sync_folder(path.parent)

    def _make(self, path: Path, blocks: _Blocks) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.writelines(blocks)
            os.fsync(fd)
        finally:
            os.close(fd)
