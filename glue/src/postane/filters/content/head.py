"""The header of a message that arrives: found in its pieces, without reading more than a bound."""

from __future__ import annotations

from collections.abc import Iterable

from postane.filters.auth.canonical import Piece


def head(pieces: Iterable[Piece], most: int) -> bytes:
    """The header as it came, without the empty line behind it; its first `most` octets where it is longer."""
    return beginning(pieces, most)[0]


def beginning(pieces: Iterable[Piece], most: int) -> tuple[bytes, bytes]:
    """Header and body of the first `most` octets of a message."""
    found = bytearray()
    for piece in pieces:
        found += memoryview(piece)[: most - len(found)]
        if len(found) >= most:
            break
    if found.startswith(b"\r\n"):
        return b"", bytes(found[2:])
    end = found.find(b"\r\n\r\n")
    return (bytes(found), b"") if end < 0 else (bytes(found[:end]), bytes(found[end + 4 :]))
