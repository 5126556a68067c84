"""Texts that try to pass a second message off inside a first, and what an honest reader makes of them.

The judge here shares nothing with smtpd.text: it reads the whole text at once, by the letter of RFC 5321.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

LINE_ENDS = (
    b"\r\n", b"\n", b"\r", b"\r\r", b"\n\n", b"\n\r", b"\r\r\n", b"\n\r\n", b"\0\r\n", b"\r\0\n", b"\r\n\0",
    b"\x0b", b"\x0c", b"\x85", b"\xe2\x80\xa8", b" \r\n", b"",
)  # fmt: skip
DOTS = (b".", b"..", b". ", b".\0", b"\0.", b" .", b"\t.", b"\xef\xbc\x8e", b"\xae")
END = b"\r\n.\r\n"

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True)
class Variant:
    """One text as it goes over the wire after 354, true end included; `false_end` lies at `at`."""

    number: int
    false_end: bytes
    at: int
    wire: bytes

    @property
    def sender(self) -> str:
        return f"v{self.number}@far.test"

    @property
    def text(self) -> bytes:
        """What was meant: the one text, dots unstuffed."""
        lines = self.wire[: -len(END)].split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines) + b"\r\n"

    @property
    def normal(self) -> bytes:
        """The same with its bare line ends made whole."""
        return _BARE.sub(b"\r\n", self.text)

    @property
    def refusals(self) -> tuple[str, ...]:
        """The replies that are right; none: the text is good."""
        found = ("550 5.6.11",) if _BARE.search(self.text) else ()
        return found + (("550 5.6.0",) if b"\0" in self.text else ())

    def cuts(self) -> range:
        """The places around the false end at which a packet may end."""
        return range(self.at - 2, self.at + len(self.false_end) + 4)


def smuggled(number: int) -> bytes:
    """The second message: commands up to its text, whose end is the true end of the first; or a whole one by BDAT."""
    head = b"MAIL FROM:<evil%d@far.test>\r\nRCPT TO:<mehmet@demo.test>\r\n" % number
    return (
        head + b"DATA\r\nSubject: smuggled\r\n\r\nevil",
        head + b"BDAT 24 LAST\r\nSubject: smuggled\r\n\r\nevil",
        head.replace(b"\r\n", b"\n") + b"DATA\nSubject: smuggled\n\nevil",
        b"RSET\r\nEHLO evil\r\n" + head + b"BDAT 24 LAST\r\nSubject: smuggled\r\n\r\nevil",
    )[number % 4]


def variants() -> Iterator[Variant]:
    """Every look-alike of an end but the end itself."""
    number = 0
    for before, dot, after in product(LINE_ENDS, DOTS, LINE_ENDS):
        lead = b"Subject: v%d\r\n\r\nhello" % number
        wire = lead + before + dot + after + smuggled(number) + END
        if wire.find(END) == len(wire) - len(END):
            yield Variant(number, before + dot + after, len(lead), wire)
            number += 1
