"""Outlook's own wrapping of attachments, winmail.dat ([MS-OXTNEF])."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

from postane.filters.content.archive import Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, windows

_TITLE, _DATA, _RENDERED, _PROPERTIES = 0x00018010, 0x0006800F, 0x00069002, 0x00069005
_LONG_NAME = b"\x1f\0\x07\x37\x01\0\0\0"  # PidTagAttachLongFilename in UTF-16, one value
_LONG_NAME_8 = b"\x1e\0\x07\x37\x01\0\0\0"


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError for what ends within an attribute."""
    at, found = 6, False
    while at + 9 <= len(octets):
        _, number, size = struct.unpack("<BII", octets[at : at + 9])
        start, at = at + 9, at + 9 + size + 2
        if at > len(octets) + 2:
            raise DamagedError("an attribute that does not end")
        found = True
        budget.step()
        if number == _TITLE:
            budget.member()
            yield Member((octets[start : start + min(size, 1024)].partition(b"\0")[0],))
        elif number == _DATA:
            budget.member()
            yield Member(read=partial(windows, octets, start, min(start + size, len(octets))))
        elif number == _PROPERTIES:
            yield from _long_names(octets[start : start + min(size, 65_536)], budget)
    if not found:
        raise DamagedError("no attribute")


def _long_names(properties: bytes, budget: Budget) -> Iterator[Member]:
    for mark, wide in ((_LONG_NAME, True), (_LONG_NAME_8, False)):
        at = properties.find(mark)
        if at < 0:
            continue
        text = properties[at + len(mark) :]
        size = int.from_bytes(text[:4], "little")
        name = text[4 : 4 + min(size, 1024)]
        budget.member()
        yield Member((name.decode("utf-16-le", "replace").encode("utf-8", "replace") if wide else name,))
