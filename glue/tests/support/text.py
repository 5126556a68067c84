"""A message's text in memory: a core.ports.Body of one piece, or of pieces of a given size."""

from __future__ import annotations


class Text:
    def __init__(self, octets: bytes, piece: int = 0) -> None:
        self._octets = octets
        self._piece = piece or max(len(octets), 1)

    @property
    def size(self) -> int:
        return len(self._octets)

    def chunks(self) -> list[bytes]:
        return [self._octets[at : at + self._piece] for at in range(0, len(self._octets), self._piece)]

    def bytes(self) -> bytes:
        return self._octets
