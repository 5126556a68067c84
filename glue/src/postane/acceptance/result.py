"""What a check found, as a value, and how a check says it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_MOST_LINES = 60
_MOST_LETTERS = 400


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105 - a word
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a check did not pass: a key of the catalogue (`words.py`) and what stands in its gaps."""

    key: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """`evidence` are lines as they came: replies, headers, records, facts of a certificate."""

    name: str
    verdict: Verdict
    reason: Reason
    evidence: tuple[str, ...]
    seconds: float


class FailedError(Exception):
    """The check says no."""

    def __init__(self, key: str, /, **values: object) -> None:
        super().__init__(key)
        self.reason = Reason(key, {name: _clean(str(value)) for name, value in values.items()})


class SkippedError(FailedError):
    """There is nothing to check here, or something that it needs is not there."""


class Case:
    """What one check has seen so far. It is kept whatever becomes of the check."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def note(self, *lines: str) -> None:
        for line in lines:
            if len(self._lines) < _MOST_LINES:
                self._lines.append(_clean(line))

    @property
    def evidence(self) -> tuple[str, ...]:
        return tuple(self._lines)


def whole(results: tuple[Result, ...]) -> Verdict:
    """Of a run: one that fails is enough; a run in which nothing passed proves nothing."""
    found = {one.verdict for one in results}
    return Verdict.PASS if Verdict.PASS in found and Verdict.FAIL not in found else Verdict.FAIL


def _clean(text: str) -> str:
    """On one line, bounded, and nothing in it that a page or a terminal would obey."""
    text = "".join(char if char.isprintable() else " " for char in text.encode("utf-8", "replace").decode()).strip()
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
