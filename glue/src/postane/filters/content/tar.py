"""Tar archives (POSIX ustar and pax, GNU long names); tarfile believes the sizes that they declare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from postane.filters.content.archive import Member
from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, windows

_PATH = re.compile(rb" (?:path|GNU\.sparse\.name)=([^\n]+)\n")
_BLOCK = 512
_NAME = 64 * 1024  # octets of a name that is longer than its field


def members(octets: Octets, budget: Budget) -> Iterator[Member]:
    """Raises BoundError, and DamagedError where the first header is none."""
    at, long, found, empty = 0, [], False, 0
    while at + _BLOCK <= len(octets):
        head = octets[at : at + _BLOCK]
        at += _BLOCK
        budget.step()
        if not head.strip(b"\0"):
            empty += 1
            continue  # two of them end it to some, and others read on
        size = _number(head[124:136])
        if size is None or not _sum(head):
            if not found:
                raise DamagedError("a header that is none")
            continue
        budget.member()
        found = True
        kind, start = head[156:157], at
        at += -(-size // _BLOCK) * _BLOCK
        if kind in b"LK" and kind:
            long.append(octets[start : start + min(size, _NAME)].rstrip(b"\0"))
            continue
        if kind in (b"x", b"X", b"g"):
            long += _pax(octets[start : start + min(size, _NAME)])
            continue
        name = head[:100].partition(b"\0")[0]
        prefix = head[345:500].partition(b"\0")[0] if head[257:262] == b"ustar" else b""
        names = tuple(dict.fromkeys([*long, prefix + b"/" + name if prefix else name]))
        budget.named(sum(map(len, names)))
        long = []
        if kind in (b"5", b"1", b"2", b"3", b"4", b"6") and not size:
            if kind in (b"1", b"2"):
                yield Member(names)
            continue
        yield Member(names, read=partial(windows, octets, start, min(start + size, len(octets))))


def _number(field: bytes) -> int | None:
    """Octal text, or binary where the first bit says so (GNU)."""
    if field[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        return None


def _sum(head: bytes) -> bool:
    """The sum of the octets, which some have counted with their sign."""
    said = _number(head[148:156])
    rest = head[:148] + 8 * b" " + head[156:]
    return said is not None and said in (sum(rest), sum(rest) - 256 * sum(octet > 127 for octet in rest))


def _pax(text: bytes) -> list[bytes]:
    """The paths of an extended header: records of "length key=value\\n"."""
    return [match[1] for match in _PATH.finditer(text)]
