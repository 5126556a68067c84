"""Whether a sender is wanted: what levels of allow and block entries say of it, the nearest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from postane.core.address import Address
from postane.filters.auth.identity import Proof
from postane.filters.senders.entries import Entries, host


class Sort(Enum):
    """What the lists say."""

    NOTHING = 0
    ALLOWED = 1
    BLOCKED = 2
    UNKNOWN = 3  # proof would decide, and cannot be had now


@dataclass(frozen=True, slots=True)
class Found:
    """`entry` is the one that decided."""

    sort: Sort
    entry: str = ""


Prove = Callable[[Address], Proof]

Tiers = Sequence[tuple[Entries, Entries]]
"""What each level allows and blocks, the nearest first."""


def decide(tiers: Tiers, peer: str, names: Sequence[Address], prove: Prove) -> Found:
    """`peer` is an IP address; `names` are the addresses that the sender uses, each of which may be blocked.

    The first level with an entry that fits decides, and within it block beats allow. An allowed name without proof is
    as if it were not there; where proof is UNKNOWN and only a wider level blocks, so is the answer.
    """
    ip = host(peer)
    unknown = ""
    for allow, block in tiers:
        if entry := block.holding(ip) or _naming(block, names):
            return Found(Sort.UNKNOWN, unknown) if unknown else Found(Sort.BLOCKED, entry)
        if entry := allow.holding(ip):
            return Found(Sort.ALLOWED, entry)
        for name in names:
            if entry := allow.naming(name):
                proof = prove(name)
                if proof is Proof.YES:
                    return Found(Sort.ALLOWED, entry)
                if proof is Proof.UNKNOWN:
                    unknown = unknown or entry
    return Found(Sort.NOTHING)


def _naming(block: Entries, names: Sequence[Address]) -> str:
    return next((entry for name in names if (entry := block.naming(name))), "")
