"""A disk that keeps to POSIX and to no more than that, fed with recorded calls (support.trace).

What a cut of the power may leave of it:

* the octets of a file as of its last fsync or fdatasync; of every later write each sector of 512 octets has come to
  the disk or not, whatever the order of the writes, and so has every later size;
* the names in a folder as of the folder's last fsync; every later change of a name has come to the disk or not. A file
  that was synced has no name for that; the two names of a rename between folders are two changes;
* of the marks that a mapped header page holds, which no call shows, any that were there at some moment.

A call counts as synced only if it had returned before the sync was begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from postane.spool import record, scan
from support.trace import Call

SECTOR = 512
_HARMLESS = ("clone", "clone3", "fork", "vfork", "sendto", "sendmsg")


@dataclass(eq=False)
class Change:
    """Of a file: octets at an offset, or a size alone. Of a folder: names set (to an inode) and taken away.

    `mark`: a word that was stored in a mapped page about the time of the call; no sync is known to cover it.
    """

    call: Call
    at: int = 0
    octets: bytes = b""
    size: int | None = None
    names: dict[str, File | Folder | None] = field(default_factory=dict)
    mark: bool = False


@dataclass(eq=False)
class File:
    durable: bytearray = field(default_factory=bytearray)
    changes: list[Change] = field(default_factory=list)
    logged: int = 0  # end of the records that were written, for a segment
    mapped: bool = False

    def size(self) -> int:
        size = len(self.durable)
        for change in self.changes:
            size = max(size, change.at + len(change.octets)) if change.size is None else change.size
        return size

    def octets(self) -> bytearray:
        """As the running system sees them."""
        octets = bytearray(self.durable)
        for change in self.changes:
            _apply(octets, change)
        return octets

    def left(self, chance: Random, share: float) -> bytearray:
        """What a cut leaves; each change came to the disk with the likelihood `share`."""
        octets = bytearray(self.durable)
        # A sector is written whole: of its changes a beginning is there, as it was at one moment.
        head = [change for change in self.changes if change.size is None and change.at < SECTOR]
        moment = len(head) if share == 1 else chance.randint(0, len(head))
        for change in self.changes:
            if change.size is None and change.at < SECTOR and len(octets) >= SECTOR:
                if change in head[:moment]:
                    piece = change.octets[: SECTOR - change.at]
                    octets[change.at : change.at + len(piece)] = piece
                _apply_torn(octets, change, chance, share, SECTOR)
            else:
                _apply_torn(octets, change, chance, share)
        return octets


@dataclass(eq=False)
class Folder:
    durable: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    names: dict[str, File | Folder] = field(default_factory=dict)  # as the running system sees them

    def left(self, chance: Random, share: float) -> dict[str, File | Folder]:
        names = dict(self.durable)
        for change in self.changes:
            if chance.random() < share:
                _set_names(names, change)
        return names


def _apply(octets: bytearray, change: Change) -> None:
    if change.size is not None:
        del octets[change.size :]
        octets.extend(bytes(change.size - len(octets)))
        return
    end = change.at + len(change.octets)
    octets.extend(bytes(max(0, end - len(octets))))
    octets[change.at : end] = change.octets


def _apply_torn(octets: bytearray, change: Change, chance: Random, share: float, begin: int = 0) -> None:
    """`begin`: what stands before it is not touched."""
    if change.size is not None:
        if chance.random() < share:
            _apply(octets, change)
        return
    end = change.at + len(change.octets)
    if end > len(octets) and chance.random() < share:
        octets.extend(bytes(end - len(octets)))
    # Pages or sectors: a disk writes the latter, a system mostly the former.
    step = SECTOR if chance.random() < 0.5 else record.PAGE
    at = max(change.at, begin)
    while at < end:
        after = min((at // step + 1) * step, end)
        if chance.random() < share and at < len(octets):
            piece = change.octets[at - change.at : after - change.at][: len(octets) - at]
            octets[at : at + len(piece)] = piece
        at = after


def _set_names(names: dict[str, File | Folder], change: Change) -> None:
    for name, inode in change.names.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


@dataclass
class _Open:
    inode: File | Folder
    name: str
    appends: bool
    at: int = 0
    wrote: bool = False


class StrictDisk:
    """The folder `root` and what is in it. Feed it with `take`, in order."""

    def __init__(self, root: Path, *, lies: Callable[[str], bool] = lambda name: False) -> None:
        """`lies`: syncs of files of which it is true do nothing, to see that the loss would be seen."""
        self._root = str(root)
        self._lies = lies
        self.top = Folder()
        self._open: dict[tuple[int, int], _Open] = {}
        self._maps: dict[tuple[int, int], _Open] = {}
        self._pending: dict[int, tuple[Call, list[Change], File | Folder]] = {}  # by id of the call
        self._syncs: dict[int, list[Change]] = {}

    def take(self, call: Call, begins: bool) -> None:
        handle = getattr(self, f"_{call.name}", None)
        if handle is not None:
            handle(call, begins)
        elif call.name not in _HARMLESS and self._concerns(call):
            raise AssertionError(f"{call.name} is not modelled: {call.text[:200]!r}")

    def _concerns(self, call: Call) -> bool:
        return any((call.process, number) in self._open for number in call.numbers()) or any(
            path.startswith(self._root.encode()) for path in call.octets()
        )

    # -- names ------------------------------------------------------------------------------------------------------

    def _folder(self, path: str) -> tuple[Folder, str] | None:
        """The folder of a path and the name in it; None for what is elsewhere."""
        path = os.path.normpath(path)
        if not path.startswith(f"{self._root}/"):
            return None
        *folders, name = path[len(self._root) + 1 :].split("/")
        folder = self.top
        for step in folders:
            found = folder.names.get(step)
            if not isinstance(found, Folder):
                return None
            folder = found
        return folder, name

    def _change_names(self, call: Call, folder: Folder, names: dict[str, File | Folder | None]) -> None:
        change = Change(call, names=names)
        folder.changes.append(change)
        _set_names(folder.names, change)

    def _openat(self, call: Call, begins: bool) -> None:
        if begins or call.result is None or call.result < 0:
            return
        self._open.pop((call.process, call.result), None)
        place = self._folder(call.path) or ((self.top, "") if call.path == self._root else None)
        if place is None:
            return
        folder, name = place
        inode = folder.names.get(name) if name else self.top
        if inode is None and b"O_CREAT" not in call.text:
            return  # a FIFO
        if inode is None:
            inode = File()
            self._change_names(call, folder, {name: inode})
        elif b"O_TRUNC" in call.text and isinstance(inode, File) and inode.size():
            inode.changes.append(Change(call, size=0))
        self._open[call.process, call.result] = _Open(inode, name, b"O_APPEND" in call.text)

    def _mkdir(self, call: Call, begins: bool) -> None:
        if not begins and call.result == 0 and (place := self._folder(call.path)) is not None:
            self._change_names(call, place[0], {place[1]: Folder()})

    def _unlink(self, call: Call, begins: bool) -> None:
        if not begins and call.result == 0 and (place := self._folder(call.path)) is not None:
            self._change_names(call, place[0], {place[1]: None})

    _rmdir = _unlink

    def _rename(self, call: Call, begins: bool) -> None:
        if begins or call.result != 0:
            return
        old, new = (self._folder(path.decode()) for path in call.octets())
        if old is None or new is None:
            return
        inode = old[0].names[old[1]]
        if old[0] is new[0]:
            self._change_names(call, old[0], {old[1]: None, new[1]: inode})
        else:
            self._change_names(call, new[0], {new[1]: inode})
            self._change_names(call, old[0], {old[1]: None})

    # -- octets -----------------------------------------------------------------------------------------------------

    def _file(self, call: Call) -> _Open | None:
        numbers = call.numbers()
        found = self._open.get((call.process, numbers[0])) if numbers else None
        return found if found is not None and isinstance(found.inode, File) else None

    def _write(self, call: Call, begins: bool) -> None:
        """One that is under way may have come to the disk in part."""
        found = self._file(call)
        if found is None or not isinstance(found.inode, File):
            return
        if begins:
            explicit = call.name.startswith("pwrite")
            data = call.data()
            offset = call.numbers()[-2 if call.name == "pwritev2" else -1]  # flags come last
            at = offset if explicit else found.inode.size() if found.appends else found.at
            change = Change(call, at, data)
            found.inode.changes.append(change)
            self._pending[id(call)] = (call, [change], found.inode)
            if not explicit:
                found.at = at + len(data)
            if at >= record.PAGE and explicit:
                found.wrote = True
                found.inode.logged = at + len(data)
            return
        _, (change,), _ = self._pending.pop(id(call))
        assert call.result is not None
        if call.result < len(change.octets):
            assert call.result >= 0, f"{call.name} failed in the record: it is not modelled"
            change.octets = change.octets[: call.result]

    _pwrite64 = _pwritev = _pwritev2 = _writev = _write

    def _resize(self, call: Call, begins: bool) -> None:
        found = self._file(call)
        if not begins and call.result == 0 and found is not None and isinstance(found.inode, File):
            size = call.numbers()[-1]
            if call.name == "fallocate":
                _, offset, length = call.numbers()[-3:]
                size = max(found.inode.size(), offset + length)
            found.inode.changes.append(Change(call, size=size))

    _ftruncate = _fallocate = _resize

    def _truncate(self, call: Call, begins: bool) -> None:
        if not begins and call.result == 0 and (place := self._folder(call.path)) is not None:
            inode = place[0].names[place[1]]
            assert isinstance(inode, File)
            inode.changes.append(Change(call, size=call.numbers()[-1]))

    def _close(self, call: Call, begins: bool) -> None:
        """The number is free as soon as the call has begun: another thread may have it before it returns."""
        found = self._file(call)
        if not begins:
            return
        if found is not None and isinstance(found.inode, File) and found.wrote and found.inode.mapped:
            found.inode.changes.append(_mark(call, record.SEALED_AT, 1))
        if call.numbers():
            self._open.pop((call.process, call.numbers()[0]), None)

    def _dup(self, call: Call, begins: bool) -> None:
        if begins or call.result is None or call.result < 0:
            return
        found = self._open.get((call.process, call.numbers()[0]))
        if found is not None:
            self._open[call.process, call.result] = found
        else:
            self._open.pop((call.process, call.result), None)

    _dup2 = _dup3 = _dup

    # -- syncs ------------------------------------------------------------------------------------------------------

    def _fsync(self, call: Call, begins: bool) -> None:
        found = self._open.get((call.process, call.numbers()[0]))
        if found is None:
            return
        inode = found.inode
        if begins:
            self._syncs[id(call)] = [change for change in inode.changes if change.call.ended >= 0 and not change.mark]
            return
        covered = self._syncs.pop(id(call))
        if call.result != 0 or self._lies(found.name):
            return
        for change in covered:
            if change not in inode.changes:
                continue  # another sync was faster
            if isinstance(inode, Folder):
                _set_names(inode.durable, change)
            else:
                if change.size is None and change.at < SECTOR:
                    # The sector went to the disk whole, with what had been marked in it before.
                    for mark in inode.changes[: inode.changes.index(change)]:
                        if mark.mark:
                            _apply(inode.durable, mark)
                            inode.changes.remove(mark)
                _apply(inode.durable, change)
            inode.changes.remove(change)
        if isinstance(inode, File) and inode.mapped and found.wrote:
            inode.changes.append(_mark(call, record.DURABLE_AT, inode.logged))

    _fdatasync = _fsync

    def _mmap(self, call: Call, begins: bool) -> None:
        if begins or b"MAP_SHARED" not in call.text or b"PROT_WRITE" not in call.text or call.result is None:
            return
        found = self._open.get((call.process, call.numbers()[-2]))
        if found is not None and isinstance(found.inode, File):
            found.inode.mapped = True
            self._maps[call.process, call.result] = found

    def _msync(self, call: Call, begins: bool) -> None:
        """A recovery: it has stored what it found, and syncs it."""
        found = self._maps.get((call.process, call.numbers()[0]))
        if found is None or not isinstance(found.inode, File):
            return
        file = found.inode
        if begins:
            log = bytes(file.octets())
            serial = record.segment_serial(log, found.name)
            durable = max(record.read_word(log, record.DURABLE_AT), record.PAGE)
            ends = [one.end for one in scan.walk(log, serial, len(log), durable) if isinstance(one, record.Record)]
            file.changes += [
                _mark(call, record.TRUSTED_AT, durable),
                _mark(call, record.DURABLE_AT, max([durable, *ends])),
                _mark(call, record.SEALED_AT, 1),
            ]
        elif call.result == 0:
            for mark in [change for change in file.changes if change.mark]:
                _apply(file.durable, mark)
                file.changes.remove(mark)

    # -- after the cut ----------------------------------------------------------------------------------------------

    def leave(self, place: Path, chance: Random, share: float) -> None:
        """Makes at `place` the folder that a cut of the power at this moment leaves."""
        place.mkdir()
        self._leave(self.top, place, chance, share)

    def _leave(self, folder: Folder, place: Path, chance: Random, share: float) -> None:
        for name, inode in folder.left(chance, share).items():
            if isinstance(inode, Folder):
                (place / name).mkdir()
                self._leave(inode, place / name, chance, share)
            else:
                with (place / name).open("wb") as file:
                    file.write(inode.left(chance, share))


def _mark(call: Call, at: int, value: int) -> Change:
    return Change(call, at, record.word(value), mark=True)
