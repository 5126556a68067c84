"""RAR archives, version 4 and 5: names and encryption, from their headers. What is in them is not unpacked.

An archive that goes on where its headers cannot be followed any more is unreadable, whatever was read before.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from postane.filters.content.archive import ENCRYPTED, UNREADABLE, Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, find

_OLD, _NEW = b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\x01\0"
_HEADER = 64 * 1024  # octets of a header


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError where a header cannot be read."""
    begin = find(octets, b"Rar!\x1a\x07", 0, len(octets), budget)
    if begin >= 0 and octets[begin : begin + 7] == _OLD:
        return _old(octets, begin + 7, budget)
    if begin >= 0 and octets[begin : begin + 8] == _NEW:
        return _new(octets, begin + 8, budget)
    raise DamagedError("a version that is not known")


def _old(octets: Octets, at: int, budget: Budget) -> Iterator[Member]:
    """Version 2.9 to 4: CRC, type, flags, size; then by the type."""
    found = ended = False
    while at + 7 <= len(octets):
        budget.step()
        _, kind, flags, size = struct.unpack("<HBHH", octets[at : at + 7])
        if size < 7 or not 0x72 <= kind <= 0x7B:
            break
        head = octets[at : at + size]
        data = struct.unpack_from("<I", head, 7)[0] if len(head) >= 11 and (flags & 0x8000 or kind == 0x74) else 0
        if kind == 0x73 and flags & 0x80:  # even the headers are encrypted from here
            yield Member(marks=frozenset((ENCRYPTED,)))
            return
        if kind == 0x7B:
            found = ended = True
            break
        if kind == 0x74 and len(head) >= 32:
            budget.member()
            found = True
            length = struct.unpack_from("<H", head, 26)[0]
            start = 32
            if flags & 0x100:
                start += 8
                data += struct.unpack_from("<I", head, 32)[0] << 32 if len(head) >= 36 else 0
            name = head[start : start + length]
            budget.named(len(name))
            names = _unicode(name) if flags & 0x200 else (name,)
            yield Member(names, frozenset((ENCRYPTED,)) if flags & 4 else frozenset())
        at += size + data
    if not found:
        raise DamagedError("no file in it")
    if not ended and at != len(octets):
        yield Member(marks=frozenset((UNREADABLE,)))


def _unicode(name: bytes) -> tuple[bytes, ...]:
    """Plain octets, a NUL, and the name in UTF-16, packed: two bits a character say how much of it stands there."""
    plain, _, packed = name.partition(b"\0")
    if not packed:
        return (name,)
    out: list[int] = []
    high, at, flags, left = packed[0], 1, 0, 0
    try:
        while at < len(packed) and len(out) < 2048:
            if not left:
                flags, at, left = packed[at], at + 1, 8
            left -= 2
            how, octet, at = flags >> left & 3, packed[at], at + 1
            if how < 2:
                out.append(octet | (high << 8 if how else 0))
            elif how == 2:
                out.append(octet | packed[at] << 8)
                at += 1
            elif octet & 0x80:
                more, at = packed[at], at + 1
                for _ in range((octet & 0x7F) + 2):
                    out.append((plain[len(out)] + more & 0xFF) | high << 8)
            else:
                out += plain[len(out) : len(out) + octet + 2]
    except IndexError:
        pass  # what there is of it
    return plain, struct.pack(f"<{len(out)}H", *out).decode("utf-16-le", "replace").encode("utf-8", "replace")


def _new(octets: Octets, at: int, budget: Budget) -> Iterator[Member]:
    """Version 5: CRC, then numbers of 7 bits an octet: size, type, flags, …"""
    found = ended = False
    while at + 7 <= len(octets):
        budget.step()
        head = octets[at + 4 : at + 4 + _HEADER]
        try:
            size, place = _number(head, 0)
            end = place + size
            if end > _HEADER:
                break
            kind, place = _number(head, place)
            flags, place = _number(head, place)
            _, place = _number(head, place) if flags & 1 else (0, place)
            data, place = _number(head, place) if flags & 2 else (0, place)
            if kind == 4:  # all that follows is encrypted, headers too
                yield Member(marks=frozenset((ENCRYPTED,)))
                return
            if kind == 5:
                found = ended = True
                break
            if kind == 2:
                budget.member()
                found = True
                yield _file(head[:end], place, flags, size, budget)
        except IndexError:
            break
        if not size:
            break
        at += 4 + end + data
    if not found:
        raise DamagedError("no file in it")
    if not ended and at != len(octets):
        yield Member(marks=frozenset((UNREADABLE,)))


def _file(head: bytes, at: int, flags: int, size: int, budget: Budget) -> Member:
    """Raises IndexError for a header that ends too early."""
    extra = 0
    if flags & 1:
        # The size of the extra area stands before that of the data: read again from the start of the fields.
        _, place = _number(head, 0)
        _, place = _number(head, place)
        _, place = _number(head, place)
        extra, _ = _number(head, place)
    what, at = _number(head, at)
    _, at = _number(head, at)  # size unpacked
    _, at = _number(head, at)  # attributes
    at += 4 * bool(what & 2) + 4 * bool(what & 4)
    _, at = _number(head, at)  # compression
    _, at = _number(head, at)  # system
    length, at = _number(head, at)
    name = head[at : at + length]
    budget.named(len(name))
    encrypted = False
    records = head[len(head) - extra :] if 0 < extra <= len(head) else b""
    place = 0
    while place < len(records):
        budget.step()
        long, start = _number(records, place)
        kind, _ = _number(records, start)
        encrypted = encrypted or kind == 1
        place = start + long
    return Member((name,), frozenset((ENCRYPTED,)) if encrypted else frozenset())


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next field begins. Raises IndexError."""
    value = shift = 0
    while True:
        octet = octets[at]
        at += 1
        value |= (octet & 127) << shift
        shift += 7
        if not octet & 128:
            return value, at
        if shift > 63:
            raise IndexError
