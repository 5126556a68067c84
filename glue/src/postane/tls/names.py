"""Which names a certificate is to have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

UNKNOWN = "it is not known now where it leads"


class Leads(Enum):
    """Whether a name's addresses are those of this host."""

    HERE = "here"
    ELSEWHERE = "elsewhere"  # or nowhere
    UNKNOWN = "unknown"  # the DNS does not say now


@dataclass(frozen=True, slots=True)
class Chosen:
    """`names` to order; `more` of them are not in the present certificate. `left_out`: why others are not asked for."""

    names: tuple[str, ...]
    more: tuple[str, ...]
    left_out: Mapping[str, str]


def covers(name: str, names: Iterable[str]) -> bool:
    """True if one of `names` is this one, or a wildcard for it: of one label, the first (RFC 6125 section 6.4.3)."""
    parent = name.partition(".")[2]
    return any(one == name or (one.startswith("*.") and one[2:] == parent) for one in names)


def choose(
    leads: Mapping[str, Leads],
    held: Collection[str],
    failing: Mapping[str, str],
    *,
    ends_soon: bool,
    wildcard: str = "",
) -> Chosen:
    """From service names and where they lead. `held` are the names of the present certificate, `failing` those that the
    authority refused lately, with its words. `wildcard` stands for all of them where it is given.

    What is held is not given up for what may be a passing trouble: a name that is refused stays wanted, and so stops
    the renewal of its certificate, until that one ends soon; then the others go on without it. A name that has never
    been held waits alone. Names that lead elsewhere are given up at the next renewal.
    """
    left_out: dict[str, str] = {}
    names: list[str] = []
    for name, where in sorted(leads.items()):
        if where is Leads.ELSEWHERE:
            left_out[name] = "does not lead to this host"
        elif where is Leads.UNKNOWN and not covers(name, held):
            left_out[name] = UNKNOWN
        elif wildcard:
            names = [wildcard]
        elif name in failing and (ends_soon or not covers(name, held)):
            left_out[name] = failing[name]
        else:
            names.append(name)
    return Chosen(tuple(names), tuple(one for one in names if not covers(one, held)), left_out)
