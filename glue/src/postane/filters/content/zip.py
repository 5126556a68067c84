"""ZIP archives (APPNOTE 6.3), as the different programs read them: by the directory at the end, and by local headers.

zipfile reads the whole directory into memory before anything can be bounded, and believes only that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from postane.filters.content import unpack
from postane.filters.content.archive import ENCRYPTED, UNREADABLE, Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.kinds import TAIL
from postane.filters.content.octets import Octets, every, windows

_LOCAL = struct.Struct("<4sHHHHHIIIHH")  # section 4.3.7
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")  # section 4.3.12
_END = struct.Struct("<4sHHHHIIH")  # section 4.3.16
_END64 = struct.Struct("<4sQHHIIQQQQ")  # section 4.3.14
_STORED, _DEFLATED, _BZIP2, _AES = 0, 8, 12, 99
_METHODS = frozenset((*range(21), 93, 94, 95, 96, 97, 98, 99))
_FULL = 0xFFFFFFFF
_ENDS = 4  # directories that are read, from the last


@dataclass(slots=True)
class _Entry:
    names: dict[bytes, None] = field(default_factory=dict)
    methods: dict[int, None] = field(default_factory=dict)
    encrypted: bool = False
    data: int = -1
    packed: int = -1
    unpacked: int = -1


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError where nothing can be read."""
    entries: dict[int, _Entry] = {}
    listed = False
    for directory, end, shift in _directories(octets):
        listed = _central(octets, directory, end, shift, entries, budget) or listed
    for at in every(octets, b"PK\x03\x04", 0, len(octets), budget):
        _local(octets, at, entries, budget)
    if not entries and not listed:
        raise DamagedError("neither a directory nor a member")
    for entry in entries.values():
        yield from _members(octets, entry, budget)


def _members(octets: Octets, entry: _Entry, budget: Budget) -> Iterator[Member]:
    names = tuple(entry.names)
    if entry.encrypted or _AES in entry.methods:
        yield Member(names, frozenset((ENCRYPTED,)))
        return
    if all(name.endswith((b"/", b"\\")) for name in names):
        return
    for method in entry.methods:
        if entry.data < 0 or method not in (_STORED, _DEFLATED, _BZIP2):
            yield Member(names, frozenset((UNREADABLE,)))
            continue
        end = len(octets) if entry.packed < 0 else min(entry.data + entry.packed, len(octets))
        yield Member(names, read=partial(_read, octets, entry.data, end, method, budget))


def _read(octets: Octets, start: int, end: int, method: int, budget: Budget) -> Iterator[bytes]:
    if method == _DEFLATED:
        return unpack.deflated(octets, start, end, budget)
    if method == _BZIP2:
        return unpack.bzip2(octets, start, end, budget)
    return _stored(octets, start, end, budget)


def _stored(octets: Octets, start: int, end: int, budget: Budget) -> Iterator[bytes]:
    for piece in windows(octets, start, end):
        budget.unpack(len(piece))
        yield piece


def _directories(octets: Octets) -> Iterator[tuple[int, int, int]]:
    """Where directories begin and end, and how far what they point to is shifted by something before the archive."""
    first = max(0, len(octets) - TAIL)
    tail = octets[first:]
    at = len(tail)
    for _ in range(_ENDS):
        at = tail.rfind(b"PK\x05\x06", 0, at)
        if at < 0:
            return
        if len(tail) - at < _END.size:
            continue
        *_, size, offset, _ = _END.unpack_from(tail, at)
        end = first + at
        if _FULL in (size, offset) and end >= 20 and octets[end - 20 : end - 16] == b"PK\x06\x07":
            begin = max(0, end - 4096)
            found = octets[begin:end].rfind(b"PK\x06\x06")
            place = begin + found if found >= 0 else -1
            if place >= 0 and len(octets) - place >= _END64.size:
                *_, size, offset = _END64.unpack(octets[place : place + _END64.size])
                end = place
        begin = end - size
        if begin >= 0:
            yield begin, end, begin - offset
        if begin != offset and 0 <= offset < end:
            yield offset, min(offset + size, end), 0


def _central(octets: Octets, at: int, end: int, shift: int, entries: dict[int, _Entry], budget: Budget) -> bool:
    """Reads a directory; True if there is one, be it empty."""
    if at == end:
        return True
    found = False
    while at + _CENTRAL.size <= end:
        head = octets[at : at + _CENTRAL.size]
        if not head.startswith(b"PK\x01\x02"):
            break
        (_, _, _, flags, method, _, _, _, packed, unpacked, name, extra, comment, _, _, _, offset) = _CENTRAL.unpack(
            head
        )
        at += _CENTRAL.size
        title = octets[at : at + name]
        more = octets[at + name : at + name + extra]
        at += name + extra + comment
        packed, unpacked, offset = _large(more, packed, unpacked, offset)
        place = offset + shift
        if octets[place : place + 4] != b"PK\x03\x04" and octets[offset : offset + 4] == b"PK\x03\x04":
            place = offset
        entry = _entry(entries, place, budget)
        _name(entry, title, more, flags, method, budget)
        entry.packed, entry.unpacked = max(entry.packed, packed), max(entry.unpacked, unpacked)
        budget.declared(packed, unpacked)
        found = True
    return found


def _local(octets: Octets, at: int, entries: dict[int, _Entry], budget: Budget) -> None:
    """Reads a local header, if it is one: the four octets may also stand in somebody's data by chance."""
    head = octets[at : at + _LOCAL.size]
    if len(head) < _LOCAL.size:
        return
    _, version, flags, method, _, _, _, packed, unpacked, name, extra = _LOCAL.unpack(head)
    if at not in entries and (version & 0xFF > 70 or method not in _METHODS or not 0 < name < 4096):
        return
    entry = _entry(entries, at, budget)
    title = octets[at + _LOCAL.size : at + _LOCAL.size + name]
    more = octets[at + _LOCAL.size + name : at + _LOCAL.size + name + extra]
    _name(entry, title, more, flags, method, budget)
    entry.data = at + _LOCAL.size + name + extra
    packed, unpacked, _ = _large(more, packed, unpacked, 0)
    if not flags & 8 or packed:
        budget.declared(packed, unpacked)
        entry.packed, entry.unpacked = max(entry.packed, packed), max(entry.unpacked, unpacked)


def _entry(entries: dict[int, _Entry], at: int, budget: Budget) -> _Entry:
    if at not in entries:
        budget.member()
        entries[at] = _Entry()
    return entries[at]


def _name(entry: _Entry, title: bytes, more: bytes, flags: int, method: int, budget: Budget) -> None:
    for one in (title, _unicode_path(more)):
        if one and one not in entry.names:
            budget.named(len(one))
            entry.names[one] = None
    entry.methods[method] = None
    entry.encrypted = entry.encrypted or bool(flags & 0x2041)  # encrypted, strongly, its directory masked


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size


def _large(extra: bytes, packed: int, unpacked: int, offset: int) -> tuple[int, int, int]:
    """Section 4.5.3: sizes of over 4 GiB stand in an extra field."""
    if _FULL not in (packed, unpacked, offset):
        return packed, unpacked, offset
    for kind, value in _fields(extra):
        if kind == 1:
            numbers = iter(struct.unpack(f"<{len(value) // 8}Q", value[: len(value) // 8 * 8]))
            unpacked = next(numbers, unpacked) if unpacked == _FULL else unpacked
            packed = next(numbers, packed) if packed == _FULL else packed
            offset = next(numbers, offset) if offset == _FULL else offset
    return packed, unpacked, offset


def _unicode_path(extra: bytes) -> bytes:
    """Section 4.6.9: the name in UTF-8, beside the other."""
    return next((value[5:] for kind, value in _fields(extra) if kind == 0x7075), b"")
