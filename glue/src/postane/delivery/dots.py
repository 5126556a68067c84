"""Dot-stuffing (RFC 5321 section 4.5.2) of a message in pieces: clean pieces pass as they are, nothing is joined.

The spool holds only CRLF line ends, so a line begins after each LF. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

Piece = bytes | bytearray | memoryview

_DOT = re.compile(rb"\n\.")
END = b".\r\n"


def stuffed(chunks: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of DATA, with the final `.` line; a last line without CRLF gets one."""
    line_start = True
    tail = b"\r\n"
    for chunk in chunks:
        if not len(chunk):
            continue
        if line_start and chunk[0] == 0x2E:
            yield b"."
        at = 0
        view: memoryview | None = None
        for found in _DOT.finditer(chunk):
            view = view or memoryview(chunk)
            yield view[at : found.end() - 1]
            yield b"."
            at = found.end() - 1
        if at == 0:
            yield chunk
        else:
            assert view is not None
            yield view[at:]
        tail = (tail + bytes(chunk[-2:]))[-2:]
        line_start = tail[-1] == 0x0A
    if tail != b"\r\n":
        yield b"\r\n"
    yield END
