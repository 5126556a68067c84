"""Compound files ([MS-CFB]): old Office documents, Outlook messages, installers. Their macros, encryption, attachments.

A reader of our own: olefile follows a table that may name the same sectors for gigabytes, and has no bound.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from postane.filters.content.archive import ENCRYPTED, MACROS, Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, find

_INSTALLER = bytes.fromhex("84100c0000000000c000000000000046")  # class id of a Windows Installer package, and:
_PATCH = bytes.fromhex("86100c0000000000c000000000000046")
_FREE = 0xFFFFFFFA  # sector numbers from here on are marks
_SMALL = 4096  # octets; smaller streams lie in the mini stream, whatever the header says
_ENTRIES = 20_000
_MACRO_NAMES = frozenset(("_vba_project", "vba", "macros", "_vba_project_cur", "vba_project"))
_MACROS_IN_FILE = "_VBA_PROJECT".encode("utf-16-le")
_SHEETS = 1_000_000  # octets of an Excel workbook in which its sheets are listed


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: int
    start: int
    size: int


class _File:
    """Raises DamagedError for a header that cannot be."""

    def __init__(self, octets: Octets, budget: Budget) -> None:
        self._octets = octets
        self._budget = budget
        head = octets[:512]
        if len(head) < 512:
            raise DamagedError("a compound file of under 512 octets")
        shift, mini_shift = struct.unpack_from("<HH", head, 30)
        if shift not in (9, 12) or mini_shift != 6:
            raise DamagedError("a compound file with strange sectors")
        self._sector = 1 << shift
        fats, directory, _, _, mini_fat, _, difat, difats = struct.unpack_from("<IIIIIIII", head, 44)
        sectors = len(octets) // self._sector + 1
        listed = list(struct.unpack_from("<109I", head, 76))
        while difat < _FREE and difats and len(listed) < sectors:
            budget.step()
            table = self._table(difat)
            if not table:
                break
            listed += table[:-1]
            difat, difats = table[-1], difats - 1
        self._fat = array("I")
        for number in listed[: min(fats, sectors)]:
            if number < _FREE and len(self._fat) < sectors:
                self._fat.extend(self._table(number))
            budget.step()
        self.entries, self.class_id = self._directory(directory)
        self._mini_fat = array("I")
        for sector in self._chain(mini_fat, sectors):
            self._mini_fat.extend(self._table(sector))
        root = next((one for one in self.entries if one.kind == 5), None)
        self._mini = list(self._chain(root.start, sectors)) if root else []

    def _table(self, sector: int) -> array[int]:
        octets = self._octets[(sector + 1) * self._sector : (sector + 2) * self._sector]
        found = array("I")
        found.frombytes(octets[: len(octets) & ~3])
        return found

    def _chain(self, sector: int, most: int) -> Iterator[int]:
        """The sectors of a chain; one that runs in a circle ends with the size of the file."""
        for _ in range(most):
            if sector >= _FREE or sector >= len(self._fat):
                return
            self._budget.step()
            yield sector
            sector = self._fat[sector]

    def _directory(self, first: int) -> tuple[list[_Entry], bytes]:
        found, class_id, seen = [], b"", set()
        for sector in self._chain(first, _ENTRIES):
            if sector in seen:
                break
            seen.add(sector)
            octets = self._octets[(sector + 1) * self._sector : (sector + 2) * self._sector]
            for at in range(0, len(octets) - 127, 128):
                entry = octets[at : at + 128]
                length, kind = struct.unpack_from("<HB", entry, 64)
                if kind not in (1, 2, 5):
                    continue
                name = entry[: max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
                start, size = struct.unpack_from("<IQ", entry, 116)
                found.append(_Entry(name, kind, start, size if self._sector > 512 else size & 0xFFFFFFFF))
                if kind == 5:
                    class_id = entry[80:96]
                self._budget.step()
        if not found:
            raise DamagedError("a compound file without a directory")
        return found, class_id

    def read(self, entry: _Entry) -> Iterator[bytes]:
        left = min(entry.size, len(self._octets))
        if entry.size >= _SMALL or entry.kind == 5:
            for sector in self._chain(entry.start, left // self._sector + 1):
                piece = self._octets[(sector + 1) * self._sector : (sector + 2) * self._sector][:left]
                left -= len(piece)
                yield piece
            return
        sector, per = entry.start, self._sector // 64
        while left > 0 and sector < len(self._mini_fat):
            self._budget.step()
            block, place = divmod(sector, per)
            if block >= len(self._mini):
                return
            at = (self._mini[block] + 1) * self._sector + place * 64
            piece = self._octets[at : at + 64][:left]
            if not piece:
                return
            left -= len(piece)
            yield piece
            sector = self._mini_fat[sector]

    def start(self, entry: _Entry, most: int) -> bytes:
        """The first octets of a stream."""
        found = bytearray()
        for piece in self.read(entry):
            found += piece
            if len(found) >= most:
                break
        return bytes(found[:most])


def marks(octets: Octets, budget: Budget) -> frozenset[str]:
    """What the whole file says by a glance at its octets, damaged or not."""
    return frozenset((MACROS,)) if find(octets, _MACROS_IN_FILE, 0, len(octets), budget) >= 0 else frozenset()


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """The file's own marks as a member without a name, then what is embedded. Raises BoundError, DamagedError."""
    file = _File(octets, budget)
    names = {one.name.casefold() for one in file.entries}
    found = set()
    if names & _MACRO_NAMES:
        found.add(MACROS)
    if names & {"encryptedpackage", "encryptedsummary"}:
        found.add(ENCRYPTED)
    if file.class_id in (_INSTALLER, _PATCH):
        found.add("msi")
    for entry in file.entries:
        if entry.kind != 2:
            continue
        name = entry.name.casefold()
        if name in ("workbook", "book"):
            found |= _workbook(file.start(entry, _SHEETS), budget)
        elif name == "worddocument":
            information = file.start(entry, 12)
            if len(information) == 12 and struct.unpack_from("<H", information, 10)[0] & 0x100:  # [MS-DOC] 2.5.2
                found.add(ENCRYPTED)
        elif name == "\x01ole10native":
            found.add("ole_package")
            yield from _package(file, entry, budget)
        elif name.startswith("__substg1.0_3701"):  # an attachment of an Outlook message, [MS-OXMSG] section 2.2.2
            budget.member()
            yield Member(read=partial(file.read, entry))
        elif name.startswith(("__substg1.0_3707", "__substg1.0_3704")):
            text = file.start(entry, 1024)
            budget.member()
            yield Member((text.replace(b"\0", b"") if name.endswith("1e") else _narrow(text),))
    yield Member(marks=frozenset(found))


def _narrow(text: bytes) -> bytes:
    return text.decode("utf-16-le", "replace").encode("utf-8", "replace")


def _workbook(stream: bytes, budget: Budget) -> set[str]:
    """[MS-XLS]: FilePass means encryption, a sheet of type 1 has macros of the oldest kind."""
    at, found = 0, set()
    while at + 4 <= len(stream):
        budget.step()
        kind, size = struct.unpack_from("<HH", stream, at)
        record = stream[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == 0x2F:
            found.add(ENCRYPTED)
        elif kind == 0x85 and len(record) > 5 and record[5] == 1:
            found.add(MACROS)
        elif kind == 0x0A:
            break
    return found


def _package(file: _File, entry: _Entry, budget: Budget) -> Iterator[Member]:
    """An embedded file: size, flags, then its label and its path, each with a NUL at its end."""
    head = file.start(entry, 2048)
    names = [one for one in head[6:].split(b"\0")[:2] if one]
    budget.member()
    budget.named(sum(map(len, names)))

    def content() -> Iterator[bytes]:
        whole = head
        path = head.find(b"\0", 6)
        path = head.find(b"\0", path + 1) + 1
        # label, path, 8 octets, the length and text of a temporary path, the length of the data
        if path > 0 and len(whole) >= path + 8:
            length = struct.unpack_from("<I", whole, path + 4)[0]
            skip = path + 8 + length + 4
            for piece in file.read(entry):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                yield piece[skip:]
                skip = 0

    yield Member(tuple(names), read=content)
