"""Transfer encodings, read as leniently as any mail program does: junk is skipped, padding in the middle is passed."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from postane.filters.content.budget import Budget
from postane.filters.content.octets import Octets, find, windows

IDENTITY, BASE64, QUOTED, UU = "identity", "base64", "quoted-printable", "uuencode"

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_JUNK = bytes(octet for octet in range(256) if octet not in _ALPHABET)
_LINE = 64 * 1024  # octets that are kept for a line to end
_BEGIN = re.compile(rb"begin(?:-base64)? +[0-7]{3,4} +([^\r\n]{1,400})")


def decode(octets: Octets, start: int, end: int, encoding: str, budget: Budget) -> Iterator[bytes]:
    """The decoded octets of a part. Raises BoundError."""
    pieces = _counted(windows(octets, start, end), budget)
    if encoding == BASE64:
        return _base64(pieces)
    if encoding == QUOTED:
        return _quoted(pieces)
    if encoding == UU:
        return _uu_part(octets, start, end, budget)
    return pieces


def _counted(pieces: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    for piece in pieces:
        budget.step(50)
        yield piece


def _base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 2045 section 6.8. A pad ends a group, not the text: encoded texts one behind another are one."""
    left = b""
    for piece in pieces:
        clean = left + piece.translate(None, _JUNK)
        if b"=" not in clean:
            cut = len(clean) & ~3
            left = clean[cut:]
            if cut:
                yield binascii.a2b_base64(clean[:cut])
            continue
        *padded, last = clean.split(b"=")
        left, out = b"", []
        for group in padded:
            left += group
            if len(left) % 4 >= 2:  # else the pad stands where none can and is junk
                out.append(binascii.a2b_base64(left + b"=" * (-len(left) % 4)))
                left = b""
        left += last
        cut = len(left) & ~3
        out.append(binascii.a2b_base64(left[:cut]))
        left = left[cut:]
        yield b"".join(out)
    if len(left) % 4 >= 2:
        yield binascii.a2b_base64(left + b"=" * (-len(left) % 4))


def _quoted(pieces: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    for piece in pieces:
        text = left + piece
        cut = text.rfind(b"\n") + 1
        if not cut and len(text) > _LINE:
            cut = len(text) - 2 if b"=" in text[-2:] else len(text)
        left = text[cut:]
        if cut:
            yield binascii.a2b_qp(text[:cut])
    if left:
        yield binascii.a2b_qp(left)


def uu_parts(octets: Octets, start: int, end: int, budget: Budget) -> Iterator[tuple[bytes, int]]:
    """Names and places of what is uuencoded in a text: (name, where its lines begin)."""
    at = start - 1 if start else -1
    while True:
        head = octets[at + 1 : at + 500]
        if match := _BEGIN.match(head):
            line = head.find(b"\n", match.end())
            yield match[1].strip(), at + 1 + (line + 1 if line >= 0 else match.end())
        at = find(octets, b"\nbegin", at + 1, end, budget)
        if at < 0:
            return
        budget.step()


def uu_lines(octets: Octets, start: int, end: int, budget: Budget) -> Iterator[bytes]:
    """The decoded lines up to `end` or the first that is none; a damaged line gives what it has, as programs do."""
    left = b""
    for piece in windows(octets, start, end):
        *lines, left = (left + piece).split(b"\n")
        if len(left) > _LINE:
            return
        out: list[bytes] = []
        for number, line in enumerate(lines):
            if number % 1000 == 0:
                budget.step(10)
            line = line.rstrip(b"\r")
            if line.startswith(b"end") or not line:
                yield b"".join(out)
                return
            out.append(_uu_line(line))
        yield b"".join(out)
    if left and not left.startswith(b"end"):
        yield _uu_line(left.rstrip(b"\r"))


def _uu_line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        wanted = (((line[0] - 32) & 63) * 4 + 5) // 3
        try:
            return binascii.a2b_uu(line[:wanted])
        except binascii.Error:
            return b""


def _uu_part(octets: Octets, start: int, end: int, budget: Budget) -> Iterator[bytes]:
    for _, at in uu_parts(octets, start, end, budget):
        yield from uu_lines(octets, at, end, budget)
        return
    yield from uu_lines(octets, start, end, budget)
