"""Questions to the DNS as values, so that what decides (SPF, iprev) can ask without doing I/O.

An evaluation is a generator: it yields a Question, is sent the Answer, and returns what it decided.
Whoever runs it finds the answers; in a test that is a dictionary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Literal, TypeVar

Kind = Literal["A", "AAAA", "MX", "PTR", "TXT"]


@dataclass(frozen=True, slots=True)
class Question:
    """`name` is absolute and without the last dot; its labels may hold any octets but a dot (no escapes).

    `fresh`: no answer that is remembered here will do.
    """

    name: str
    kind: Kind
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says, CNAMEs followed.

    `records`: addresses for A and AAAA, names without the last dot for PTR and MX (best first; "" is the root),
    texts with their strings joined for TXT. `exists` is False if there is no such name (NXDOMAIN).
    `failed` says, in a sentence, why there is no answer now (SERVFAIL, silence); then the rest means nothing.
    """

    records: tuple[str, ...] = ()
    exists: bool = True
    failed: str = ""

    @property
    def void(self) -> bool:
        """An answer for certain that holds nothing (RFC 7208 section 4.6.4)."""
        return not self.records and not self.failed


NO_SUCH_NAME = Answer(exists=False)

T = TypeVar("T")

Evaluation = Generator[Question, Answer, T]

Ask = Callable[[Question], Awaitable[Answer]]
"""Finds an answer. Never raises: what goes wrong is `Answer.failed`."""
