"""7z archives: names and encryption, from the header at their end. What is in them is not unpacked.

The header is often compressed with LZMA, and encrypted where the archive's maker wished so.
Source: 7zFormat.txt of the LZMA SDK.
"""

from __future__ import annotations

import lzma
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from postane.filters.content.archive import ENCRYPTED, UNREADABLE, Member
from postane.filters.content.budget import BoundError, Budget, DamagedError
from postane.filters.content.octets import Octets, find

_SIGNATURE = b"7z\xbc\xaf\x27\x1c"
_AES = b"\x06\xf1\x07\x01"
_LZMA, _LZMA2 = b"\x03\x01\x01", b"\x21"
_HEADER = 8_000_000  # octets, packed or not
_DICTIONARY = 64 * 1024 * 1024
_NAMES = 0x11
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError where the header cannot be read."""
    begin = find(octets, _SIGNATURE, 0, len(octets), budget)
    start = octets[begin : begin + 32] if begin >= 0 else b""
    if len(start) < 32:
        raise DamagedError("no header")
    offset, size, _ = struct.unpack_from("<QQI", start, 12)
    base = begin + 32
    if size > _HEADER:
        raise BoundError(f"a 7z header of {size} octets")
    header = octets[base + offset : base + offset + size] if offset < len(octets) else b""
    if not size:
        return
    if len(header) < size:
        raise DamagedError("it ends before its header")
    for _ in range(4):  # a compressed header may hold a compressed header
        if header[:1] != b"\x17":
            break
        if _AES in header:
            yield Member(marks=frozenset((ENCRYPTED,)))
            return
        header = _unpacked(octets, base, header)
        budget.clock()
    if header[:1] != b"\x01":
        raise DamagedError("a header that is not known")
    marks = frozenset((ENCRYPTED,)) if _AES in header else frozenset()
    found = False
    for name in _names(header, budget):
        found = True
        budget.member()
        budget.named(len(name))
        yield Member((name,), marks)
    if not found and len(header) > 2:  # more than "begins" and "ends"
        yield Member(marks=marks or frozenset((UNREADABLE,)))


def _unpacked(octets: Octets, base: int, header: bytes) -> bytes:
    """The header that an encoded header tells of: one stream, one coder. Raises DamagedError."""
    try:
        at = 1
        if header[at] != 6:
            raise DamagedError("no stream")
        place, at = _number(header, at + 1)
        _, at = _number(header, at)
        if header[at] != 9:
            raise DamagedError("a stream without a size")
        packed, at = _number(header, at + 1)
        at = header.index(b"\x07\x0b\x01\0", at) + 4  # unpack info, folder, one of them, not external
        coders, flags = header[at], header[at + 1]
        width = flags & 15
        codec = header[at + 2 : at + 2 + width]
        at += 2 + width
        length, at = _number(header, at) if flags & 32 else (0, at)
        properties = header[at : at + length]
        at = header.index(b"\x0c", at + length) + 1
        size, _ = _number(header, at)
    except (IndexError, ValueError) as error:
        raise DamagedError("an encoded header that cannot be read") from error
    if coders != 1 or size > _HEADER or packed > _HEADER:
        raise DamagedError("an encoded header of many coders or octets")
    data = octets[base + place : base + place + packed] if place < len(octets) else b""
    if codec == b"\0":
        return data
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_coder(codec, properties)]).decompress(data, size)
    except (lzma.LZMAError, ValueError, MemoryError) as error:
        raise DamagedError(f"its header: {error}") from error


def _coder(codec: bytes, properties: bytes) -> dict[str, Any]:
    """Raises DamagedError."""
    if codec == _LZMA and len(properties) == 5:
        first, dictionary = struct.unpack("<BI", properties)
        rest, lc = divmod(first, 9)
        pb, lp = divmod(rest, 5)
        if dictionary <= _DICTIONARY:
            # liblzma wants a dictionary of at least 4 KiB.
            return {"id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": lc, "lp": lp, "pb": pb}
    if codec == _LZMA2 and len(properties) == 1 and properties[0] < 40:
        dictionary = (2 | properties[0] & 1) << (properties[0] // 2 + 11)
        if dictionary <= _DICTIONARY:
            return {"id": lzma.FILTER_LZMA2, "dict_size": dictionary}
    raise DamagedError("a header in a coding that is not known")


def _names(header: bytes, budget: Budget) -> Iterator[bytes]:
    """The property of names: its number, a size, "not external", and text in UTF-16, each name with a NUL.

    All that may be one, since something before it may be made to look so. Raises BoundError.
    """
    at = header.find(_NAMES)
    while at >= 0:
        budget.step()
        try:
            size, start = _number(header, at + 1)
        except IndexError:
            return
        end = start + size
        if 2 < size <= len(header) - start and size % 2 and header[start] == 0 and header[end - 2 : end] == b"\0\0":
            budget.step(1 + size // 4096)
            with suppress(UnicodeDecodeError):
                found = header[start + 1 : end].decode("utf-16-le").split("\0")[:-1]
                if all(name and not _CONTROL.search(name) for name in found):
                    yield from (name.encode() for name in found)
        at = header.find(_NAMES, at + 1)


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """The leading ones of the first octet say how many follow. Raises IndexError."""
    first = octets[at]
    more = 0
    while more < 8 and first & (0x80 >> more):
        more += 1
    if at + more >= len(octets):
        raise IndexError
    value = int.from_bytes(octets[at + 1 : at + 1 + more], "little")
    if more < 7:
        value |= (first & (0x7F >> more)) << (8 * more)
    return value, at + 1 + more
