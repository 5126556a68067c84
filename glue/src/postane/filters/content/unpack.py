"""Compressed streams, unpacked piece by piece: gzip, bzip2, xz, and the bare deflate of other formats."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from postane.filters.content.budget import Budget, DamagedError
from postane.filters.content.octets import Octets, windows

_PIECE = 256 * 1024  # octets that are unpacked at once
_MEMORY = 96 * 1024 * 1024  # octets that xz may use: 65 MiB are needed for its highest level


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Deflate:
    """zlib's object with the interface of the others; `needs_input` as theirs."""

    def __init__(self, bits: int) -> None:
        self._zlib = zlib.decompressobj(bits)
        self._rest = b""
        self._more = False  # it holds back what the last piece had no place for

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest and not self._more

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out = self._zlib.decompress(self._rest + data, max_length)
        self._rest, self._more = self._zlib.unconsumed_tail, len(out) == max_length
        return out


def deflated(octets: Octets, start: int, end: int, budget: Budget, bits: int = -15) -> Iterator[bytes]:
    """One deflate stream; `bits` as zlib has them (31: gzip's frame, 15: zlib's). Raises DamagedError, BoundError."""
    return _unpacked(octets, start, end, budget, lambda: _Deflate(bits), many=bits == 31)


def gzip(octets: Octets, budget: Budget) -> Iterator[bytes]:
    return deflated(octets, 0, len(octets), budget, 31)


def bzip2(octets: Octets, start: int, end: int, budget: Budget) -> Iterator[bytes]:
    return _unpacked(octets, start, end, budget, bz2.BZ2Decompressor, many=True)


def xz(octets: Octets, budget: Budget) -> Iterator[bytes]:
    return _unpacked(octets, 0, len(octets), budget, lambda: lzma.LZMADecompressor(memlimit=_MEMORY), many=True)


def _unpacked(
    octets: Octets, start: int, end: int, budget: Budget, make: Callable[[], _Unpacker], *, many: bool
) -> Iterator[bytes]:
    """`many`: streams may follow one another."""
    unpacker, begun, done = make(), False, 0
    try:
        for piece in windows(octets, start, end):
            budget.step(20)
            data = piece
            while data or not unpacker.needs_input:
                out = unpacker.decompress(data, _PIECE)
                data = b""
                begun = True
                if out:
                    done += len(out)
                    budget.unpack(len(out))
                    budget.ratio(end - start, done)
                    yield out
                if unpacker.eof:
                    if not many:
                        return
                    data, unpacker, begun = unpacker.unused_data.lstrip(b"\0"), make(), False
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError) as error:
        if done and many and not begun:
            return  # what follows a whole stream is no stream, and no program minds
        raise DamagedError(str(error)) from error
