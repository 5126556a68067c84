"""Octets that are searched and cut: in memory where they are few, else a map of a file without a name.

Nothing here joins a large message in memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile

from postane.filters.content.budget import Budget

Octets = bytes | mmap.mmap

WINDOW = 256 * 1024  # octets that are handled without looking at the clock
_IN_MEMORY = 1024 * 1024


def whole(chunks: Sequence[bytes | bytearray | memoryview]) -> Octets:
    """The chunks as one: the map that they already are, joined if they are small, else in a file of their own."""
    if len(chunks) == 1:
        only = chunks[0]
        if isinstance(only, bytes):
            return only
        if isinstance(only, memoryview) and isinstance(only.obj, mmap.mmap) and len(only.obj) == len(only):
            return only.obj
    if sum(map(len, chunks)) <= _IN_MEMORY:
        return b"".join(chunks)
    return keep(chunks)


def keep(pieces: Iterable[bytes | bytearray | memoryview]) -> Octets:
    """What the pieces bring, beyond 1 MiB in a file that goes when it is no longer used. Raises OSError."""
    pieces = iter(pieces)
    first = bytearray()
    for piece in pieces:
        first += piece
        if len(first) > _IN_MEMORY:
            break
    else:
        return bytes(first)
    with TemporaryFile(buffering=0) as file:
        _write(file.fileno(), first)
        for piece in pieces:
            _write(file.fileno(), piece)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _write(fd: int, octets: bytes | bytearray | memoryview) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(fd, view) :]


def windows(octets: Octets, start: int, end: int) -> Iterator[bytes]:
    """The octets from `start` to `end`, in pieces of up to WINDOW."""
    for at in range(start, end, WINDOW):
        yield octets[at : min(at + WINDOW, end)]


def find(octets: Octets, wanted: bytes, start: int, end: int, budget: Budget) -> int:
    """As bytes.find, in steps that let others in and mind the clock; a map's own search does neither."""
    if isinstance(octets, bytes) and end - start <= WINDOW:
        return octets.find(wanted, start, end)
    overlap = len(wanted) - 1
    while start < end:
        stop = min(start + WINDOW, end)
        at = octets[start:stop].find(wanted) if isinstance(octets, mmap.mmap) else octets.find(wanted, start, stop)
        if at >= 0:
            return at + start if isinstance(octets, mmap.mmap) else at
        if stop == end:
            break
        start = stop - overlap
        budget.step(20)
    return -1


def every(octets: Octets, wanted: bytes, start: int, end: int, budget: Budget) -> Iterator[int]:
    """Where `wanted` stands, in order; one window of a map is cut only once."""
    overlap = len(wanted) - 1
    while start < end:
        stop = min(start + WINDOW, end)
        window = octets[start:stop]
        at = window.find(wanted)
        while at >= 0:
            yield start + at
            budget.step()
            at = window.find(wanted, at + 1)
        if stop == end:
            break
        start = stop - overlap
        budget.step(20)
