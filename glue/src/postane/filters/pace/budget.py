"""Limits of rate as values: what may be counted, for whom, and what is said where one is passed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Literal

from msgspec import Meta, Struct

from postane.core.ports import Charge

Counts = Literal["connections", "messages", "recipients", "unknown_recipients", "octets"]

PEERS = ("peer", "net", "sender", "recipient_domain")  # whom limits of what comes from outside are for
MEMBERS = ("account", "domain", "tenant")  # and those of our own users

_COUNTED: dict[str, tuple[Counts, ...]] = {
    "peer": ("connections", "messages", "recipients", "unknown_recipients", "octets"),
    "net": ("connections", "messages", "recipients", "unknown_recipients", "octets"),
    "sender": ("messages", "recipients", "octets"),
    "recipient_domain": ("recipients",),
    "account": ("messages", "recipients", "octets"),
    "domain": ("messages", "recipients", "octets"),
    "tenant": ("messages", "recipients", "octets"),
}


class Limit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`rate` of what it counts in `seconds`, and at most `burst` at once; 0: as many as `rate`.

    `mode: watch` tells where it is passed and stops nothing.
    """

    counts: Counts
    rate: Annotated[float, Meta(gt=0)]
    seconds: Annotated[float, Meta(gt=0, le=366 * 86_400)] = 3600.0
    burst: Annotated[float, Meta(ge=0)] = 0.0
    mode: Literal["enforce", "watch"] = "enforce"

    def __str__(self) -> str:
        burst = f", {self.burst:g} at once" if self.burst else ""
        return f"{self.rate:g} {self.counts} in {self.seconds:g} s{burst}"

    @property
    def most(self) -> float:
        return self.burst or self.rate


@dataclass(frozen=True, slots=True)
class Due:
    """One limit for one of those it is for: `whose` is their kind (peer, account …), `who` the address, name or net."""

    limit: Limit
    whose: str
    who: str
    charge: Charge


def check(limits: Mapping[str, Iterable[Limit]]) -> None:
    """Raises ValueError for a kind of count that cannot be had of those it is for."""
    for whose, every in limits.items():
        for limit in every:
            if limit.counts not in _COUNTED[whose]:
                raise ValueError(f"{whose}: {limit.counts} cannot be counted; {', '.join(_COUNTED[whose])} can")


class Budget:
    """All limits of one set of options. Buckets of peers are of this `space` alone; those of our users are shared."""

    def __init__(self, limits: Mapping[str, Iterable[Limit]], space: str = "") -> None:
        self._by_count: dict[Counts, list[tuple[str, Limit, str]]] = {}
        for whose, every in limits.items():
            for limit in every:
                window = f"{limit.rate:g}/{limit.seconds:g}/{limit.most:g}"
                key = f"rates:{space if whose in PEERS else ''}:{whose}:{limit.counts}:{window}:"
                self._by_count.setdefault(limit.counts, []).append((whose, limit, key))

    def due(self, who: Mapping[str, str], counts: Counts, amount: float = 1.0, *, look: bool = False) -> list[Due]:
        """The limits that hold now. `who` says who is meant, by kind; one who is not known ("") has none.

        More than a bucket holds costs all that it holds: such a message passes when nothing else did for a while.
        `look` takes nothing.
        """
        found = []
        for whose, limit, key in self._by_count.get(counts, ()):
            if name := who.get(whose):
                most = limit.most
                cost = min(amount, most)
                charge = Charge(key + _hidden(name), 0.0 if look else cost, limit.rate / limit.seconds, most, cost)
                found.append(Due(limit, whose, name, charge))
        return found


@lru_cache(10_000)
def _hidden(name: str) -> str:
    """Names are hashed: they are long, and nobody's business in a memory that many can read."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def words(passed: Due, seconds: float) -> str:
    """What the peer reads; for our own users the limit itself, so that they know what they have used up."""
    limit, what = passed.limit, passed.limit.counts.replace("_", " ")
    again = f"try again in {duration(seconds)}"
    match passed.whose:
        case "account" | "domain" | "tenant":
            of = {"account": "your account", "domain": "your domain", "tenant": "your organisation"}[passed.whose]
            return f"The limit of {of} is reached: {limit.rate:g} {what} in {duration(limit.seconds)}; {again}"
        case "sender":
            return f"Too many {what} from this sender address; {again}"
        case "recipient_domain":
            return f"Too many {what} in {passed.who}; {again}"
        case "net":
            return f"Too many {what} from the network {passed.who}; {again}"
        case _:
            return f"Too many {what} from {passed.who}; {again}"


def duration(seconds: float) -> str:
    """In words, rounded up: "40 seconds", "5 minutes", "3 hours"."""
    for unit, size, least in (
        ("day", 86_400, 2 * 86_400),
        ("hour", 3600, 2 * 3600),
        ("minute", 60, 120),
        ("second", 1, 0),
    ):
        if seconds >= least:
            many = max(1, -int(-seconds // size))
            return f"{many} {unit}{'s' if many > 1 else ''}"
    raise ValueError(seconds)
