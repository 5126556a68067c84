"""Cabinets ([MS-CAB] section 2): the names of their files. What is in them is not unpacked."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from postane.filters.content.archive import UNREADABLE, Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, find

_HEAD = struct.Struct("<4sIIIIIBBHHHHH")
_FILE = struct.Struct("<IIHHHH")
_NAME = 512


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError where it is none. Its files have no content here."""
    begin = find(octets, b"MSCF\0\0\0\0", 0, len(octets), budget)
    head = octets[begin : begin + _HEAD.size] if begin >= 0 else b""
    if len(head) < _HEAD.size:
        raise DamagedError("no header")
    (_, _, _, _, first, _, _, _, _, files, _, _, _) = _HEAD.unpack(head)
    at = begin + first
    for _ in range(files):
        record = octets[at : at + _FILE.size + _NAME]
        if len(record) <= _FILE.size:
            raise DamagedError("it ends before its list of files")
        budget.member()
        name = record[_FILE.size :].partition(b"\0")[0]
        budget.named(len(name))
        at += _FILE.size + len(name) + 1
        yield Member((name,))
    if not files:
        yield Member(marks=frozenset((UNREADABLE,)))
