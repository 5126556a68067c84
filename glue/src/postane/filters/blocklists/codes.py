"""What a list's answers mean: each is an address in 127.0.0.0/8, and a code (RFC 5782 section 2.3). Pure.

A code is written as an address whose octets may be a range or open: `127.0.0.2`, `127.0.0.4-7`, `127.0.2-20.3`,
`127.0.*.1`, and `&8` for those in which that bit is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_OCTETS = 4
_OCTET = re.compile(r"\*|&(?P<bit>\d{1,3})|(?P<low>\d{1,3})(?:-(?P<high>\d{1,3}))?", re.ASCII)

Matches = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the answers to one question mean. `codes` are those that are known, `unknown` the others.

    `weight` is that of the strongest code. `fault` says why nothing that this list says can be believed, or is "".
    """

    weight: float = 0.0
    codes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    fault: str = ""


class Codes:
    """The codes of one list with their weights; without any, each code in 127.0.0.0/8 has `weight`."""

    def __init__(self, weights: Mapping[str, float], weight: float) -> None:
        """Raises ValueError for what is no code."""
        self._patterns = [(_pattern(text), value) for text, value in weights.items()]
        self._weight = weight

    @property
    def most(self) -> float:
        """The size of the strongest weight."""
        return max((abs(weight) for _, weight in self._patterns), default=abs(self._weight))

    def read(self, answers: Iterable[str]) -> Reading:
        """`answers` are the A records, of any name that was asked for."""
        known: dict[str, float] = {}
        unknown = []
        for answer in answers:
            octets = [int(octet) for octet in answer.split(".")]
            weights = [value for pattern, value in self._patterns if _fits(pattern, octets)]
            if octets[0] != 127:
                return Reading(fault=f"answers {answer}, which no list does")
            if octets[:3] == [127, 255, 255]:
                return Reading(fault=f"does not talk to our resolver ({answer})")
            if not weights and octets == [127, 0, 0, 1]:
                # RFC 5782 section 2.3 warns of it; several lists say so that a resolver asks too much.
                return Reading(fault="answers 127.0.0.1, as lists do to a resolver that they do not talk to")
            if weights or not self._patterns:
                known[answer] = max(weights, key=abs) if weights else self._weight
            else:
                unknown.append(answer)
        return Reading(max(known.values(), key=abs, default=0.0), tuple(sorted(known)), tuple(sorted(unknown)))


def _fits(pattern: tuple[Matches, ...], octets: list[int]) -> bool:
    return all(matches(octet) for matches, octet in zip(pattern, octets, strict=True))


def _pattern(text: str) -> tuple[Matches, ...]:
    octets = text.split(".")
    if len(octets) != _OCTETS:
        raise ValueError(f"{text!r} is no code: four octets are, such as 127.0.0.2 or 127.0.0.4-7")
    return tuple(_octet(octet, text) for octet in octets)


def _octet(octet: str, text: str) -> Matches:
    found = _OCTET.fullmatch(octet)
    if found is None or any(int(number) > 255 for number in found.groupdict().values() if number):
        raise ValueError(f"{text!r} is no code: {octet!r} is no octet, range, bit or *")
    if found["bit"]:
        bit = int(found["bit"])
        return lambda value: bool(value & bit)
    if found["low"] is None:
        return lambda _: True
    low, high = int(found["low"]), int(found["high"] or found["low"])
    if low > high:
        raise ValueError(f"{text!r} is no code: {octet!r} goes backwards")
    return lambda value: low <= value <= high
