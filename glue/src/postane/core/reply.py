"""An SMTP reply as a value: code, enhanced status code (RFC 3463) and text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self


@lru_cache(1024)  # nearly all replies are one of a few dozen
def _octets(code: int, enhanced: str, text: str) -> bytes:
    lead = f"{enhanced} " if enhanced else ""
    *lines, last = text.split("\n")
    return "".join([*(f"{code}-{lead}{line}\r\n" for line in lines), f"{code} {lead}{last}\r\n"]).encode(
        "utf-8", "replace"
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What the peer reads. `enhanced` is "" where RFC 2034 gives none (220, 221 may, 250 to EHLO, 334, 354)."""

    code: int
    enhanced: str
    text: str

    @property
    def ok(self) -> bool:
        return 200 <= self.code < 400

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def wire(self) -> bytes:
        """The reply as octets; a text with line feeds becomes a multi-line reply (RFC 5321 section 4.2.1)."""
        return _octets(self.code, self.enhanced, self.text)

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"

    @classmethod
    def parse(cls, code: int, text: str) -> Self:
        """A reply read from another server: splits a leading enhanced status code off its text."""
        first, _, rest = text.partition(" ")
        parts = first.split(".")
        if len(parts) == 3 and all(p.isdigit() for p in parts) and parts[0] == str(code)[0]:
            return cls(code, first, rest)
        return cls(code, "", text)
