"""Canonical forms of message text (RFC 6376 section 3.4), piece by piece: what DKIM and ARC hash.

Nothing here holds more of a body than one slice: a message of any size, of one endless line, or of nothing but empty
lines costs the same memory. The work is whole-buffer replacements at the speed of memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

Piece = bytes | bytearray | memoryview

_SLICE = 256 * 1024
_SPACES = re.compile(rb"[ \t]+")
_CRLFS = b"\r\n" * 4096


def slices(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The same text in pieces that are small enough to be copied."""
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), _SLICE):
            yield bytes(view[at : at + _SLICE])


def with_crlf(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The text with every bare LF made CRLF, so that a message in either form is the same message."""
    held = b""
    for piece in slices(pieces):
        text = held + piece
        held = b"\r" if text.endswith(b"\r") else b""
        if held:
            text = text[:-1]
        if text.count(b"\n") != text.count(b"\r\n"):
            text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        yield text
    if held:
        yield held


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """A header field without its CRLF (section 3.4.2): name in lower case, unfolded, white space to one space."""
    return name + b":" + _SPACES.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")


class BodyHash:
    """SHA-256 of a body in one canonical form (sections 3.4.3 and 3.4.4), and of its beginnings for `l=`.

    All the lengths that signatures name are served in one pass. `digests` maps a length to the hash of that many
    octets, and None to that of the whole; a length beyond the end is not in it. `size` is the canonical length.
    Both hold after `finish`.
    """

    def __init__(self, *, relaxed: bool, lengths: Iterable[int] = ()) -> None:
        self.size = 0
        self.digests: dict[int | None, bytes] = {}
        self._relaxed = relaxed
        self._lengths = sorted(set(lengths), reverse=True)
        self._hash = hashlib.sha256()
        self._held = b""  # a space or CR at the end of what came: what follows decides about it
        self._empty = 0  # empty lines that count only if text follows

    def feed(self, pieces: Iterable[Piece]) -> None:
        for piece in slices(pieces):
            self._feed(piece)

    def finish(self) -> None:
        if self._held.endswith(b"\r"):
            self._text(self._held)
        # Text ends with one CRLF; an empty body is CRLF in the simple form and nothing in the relaxed one.
        if self.size or not self._relaxed:
            self._add(b"\r\n")
        if self._lengths and self._lengths[-1] == 0:
            self._add(b"")
        self.digests[None] = self._hash.digest()

    def _feed(self, piece: bytes) -> None:
        text = self._held + piece
        if self._relaxed:
            if b"\t" in text:
                text = text.replace(b"\t", b" ")
            while b"  " in text:
                text = text.replace(b"  ", b" ")
            text = text.replace(b" \r\n", b"\r\n")
        end = len(text) - text.endswith(b"\r")
        if self._relaxed and text.endswith(b" ", 0, end):
            end -= 1
        self._held = text[end:]
        if self._held:
            text = text[:end]
        solid = text.rstrip(b"\r\n")
        # A bare CR is text: only whole CRLFs at the end are empty lines.
        tail = text[len(solid) :].replace(b"\r\n", b"\0")
        odd = tail.rstrip(b"\0")
        if odd:
            solid += odd.replace(b"\0", b"\r\n")
        if solid:
            self._text(solid)
        self._empty += len(tail) - len(odd)

    def _text(self, text: bytes) -> None:
        while self._empty:
            lines = min(self._empty, len(_CRLFS) // 2)
            self._add(_CRLFS[: 2 * lines])
            self._empty -= lines
        self._add(text)

    def _add(self, text: bytes) -> None:
        size = self.size + len(text)
        while self._lengths and self._lengths[-1] <= size:
            length = self._lengths.pop()
            part = self._hash.copy()
            part.update(memoryview(text)[: length - self.size])
            self.digests[length] = part.digest()
        self._hash.update(text)
        self.size = size
