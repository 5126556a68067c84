"""Macro strings of SPF: read, checked against the grammar, and expanded (RFC 7208 section 7).

Pure. The value of `p` costs questions, so the caller asks `uses` first and only then finds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_TOKEN = re.compile(
    r"%\{(?P<letter>[slodiphcrtv])(?P<digits>\d*)(?P<reverse>r?)(?P<delimiters>[.\-+,/_=]*)\}"
    r"|%(?P<escape>[%_-])"
    r"|(?P<literal>[\x20-\x24\x26-\x7e]+)",
    re.IGNORECASE | re.ASCII,
)
_ESCAPED = {"%": "%", "_": " ", "-": "%20"}
_ONLY_EXPLAINING = frozenset("crt")  # section 7.2
_LDH = re.compile(r"[a-z0-9-]+", re.IGNORECASE | re.ASCII)


class SyntaxProblem(ValueError):  # noqa: N818  (no accident of ours: the publisher's record is wrong)
    """A record, or a part of it, that breaks the grammar; says what."""


@dataclass(frozen=True, slots=True)
class Macro:
    """`digits`: how many parts are kept, from the right; 0 keeps all. `escape`: for a URL (upper-case letter)."""

    letter: str
    digits: int
    reverse: bool
    delimiters: str
    escape: bool


MacroString = tuple[str | Macro, ...]


def parse_string(text: str, *, explaining: bool = False) -> MacroString:
    """macro-string; with `explaining` an explain-string, which has spaces too. Raises SyntaxProblem."""
    parts, _ = _parts(text)
    if not explaining and " " in text:
        raise SyntaxProblem(f"{text[:80]!r} has a space")
    return parts


def parse_domain(text: str) -> MacroString:
    """domain-spec. Raises SyntaxProblem."""
    parts, tail = _parts(text)
    for part in parts:
        if isinstance(part, Macro) and part.letter in _ONLY_EXPLAINING:
            raise SyntaxProblem(f"the macro {part.letter!r} stands in explanations only")
    if not parts or (tail is not None and not _ends_with_label(tail)):
        raise SyntaxProblem(f"{text[:80]!r} is no domain")
    return parts


def uses(parts: MacroString, letter: str) -> bool:
    return any(isinstance(part, Macro) and part.letter == letter for part in parts)


def expand(parts: MacroString, values: Mapping[str, str]) -> str:
    """Every letter that occurs in `parts` has to be in `values`."""
    return "".join(part if isinstance(part, str) else _value(part, values[part.letter]) for part in parts)


def _parts(text: str) -> tuple[MacroString, str | None]:
    """The parts, and the literal text that they end with; None if they end with a macro."""
    parts: list[str | Macro] = []
    tail: str | None = None
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise SyntaxProblem(f"{text[:80]!r} breaks the grammar at {text[at : at + 8]!r}")
        at = found.end()
        tail = found["literal"]
        if letter := found["letter"]:
            digits = found["digits"].lstrip("0")
            if found["digits"] and not digits:
                raise SyntaxProblem(f"{found[0][:20]} keeps no part")
            kept = int(digits[:6]) if digits else 0  # no text has as many parts
            parts.append(
                Macro(letter.lower(), kept, bool(found["reverse"]), found["delimiters"] or ".", letter.isupper())
            )
        else:
            parts.append(found["literal"] or _ESCAPED[found["escape"]])
    return tuple(parts), tail


def _ends_with_label(tail: str) -> bool:
    """domain-end of section 7.1: a dot, and a label that is no number."""
    _, dot, label = tail.removesuffix(".").rpartition(".")
    return bool(dot and _LDH.fullmatch(label)) and not label.isdigit() and label[0] != "-" and label[-1] != "-"


def _value(macro: Macro, value: str) -> str:
    pieces = re.split(f"[{re.escape(macro.delimiters)}]", value)
    if macro.reverse:
        pieces.reverse()
    text = ".".join(pieces[-macro.digits :])
    return quote(text, safe="-._~") if macro.escape else text
