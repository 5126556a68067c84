"""What levels of entries say of a sender: the nearest level, block before allow, and only proof allows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from postane.core.address import Address
from postane.filters.auth.identity import Proof
from postane.filters.senders.entries import Entries
from postane.filters.senders.wanted import Sort, Tiers, decide

SENDER = "bob@mail.example.org"


def tiers(*levels: tuple[Sequence[str], Sequence[str]]) -> Tiers:
    return [(Entries(allow), Entries(block)) for allow, block in levels]


@pytest.mark.parametrize(
    ("levels", "said", "entry"),
    [
        ([], Sort.NOTHING, ""),
        ([([], [])], Sort.NOTHING, ""),
        ([([], ["mail.example.org"])], Sort.BLOCKED, "mail.example.org"),
        ([([], ["192.0.2.0/24"])], Sort.BLOCKED, "192.0.2.0/24"),
        ([([SENDER], [])], Sort.ALLOWED, SENDER),
        ([(["192.0.2.7"], [])], Sort.ALLOWED, "192.0.2.7"),
        # Block beats allow at the same level, be it ever so narrow.
        ([([SENDER], [".example.org"])], Sort.BLOCKED, ".example.org"),
        # The nearest level beats the wider ones.
        ([([".example.org"], []), ([], [SENDER])], Sort.ALLOWED, ".example.org"),
        ([([], [".example.org"]), ([SENDER], [])], Sort.BLOCKED, ".example.org"),
        ([(["other.example"], []), ([], [SENDER])], Sort.BLOCKED, SENDER),
    ],
)
def test_levels(levels: list[tuple[list[str], list[str]]], said: Sort, entry: str) -> None:
    found = decide(tiers(*levels), "192.0.2.7", [Address.parse(SENDER)], lambda _: Proof.YES)
    assert (found.sort, found.entry) == (said, entry)


@pytest.mark.parametrize(
    ("proof", "alone", "under_a_block"),
    [
        (Proof.YES, Sort.ALLOWED, Sort.ALLOWED),
        (Proof.NO, Sort.NOTHING, Sort.BLOCKED),
        (Proof.UNKNOWN, Sort.NOTHING, Sort.UNKNOWN),
    ],
)
def test_a_name_is_allowed_only_with_proof(proof: Proof, alone: Sort, under_a_block: Sort) -> None:
    names = [Address.parse(SENDER)]
    assert decide(tiers(([SENDER], [])), "192.0.2.7", names, lambda _: proof).sort is alone
    levels = tiers(([SENDER], []), ([], [".example.org"]))
    assert decide(levels, "192.0.2.7", names, lambda _: proof).sort is under_a_block


def test_each_name_may_be_blocked_and_any_proven_one_allowed() -> None:
    names = [Address.parse(SENDER), Address.parse("boss@bank.example")]
    assert decide(tiers(([], ["bank.example"])), "192.0.2.7", names, lambda _: Proof.NO).sort is Sort.BLOCKED
    found = decide(
        tiers((["bank.example", SENDER], [])),
        "192.0.2.7",
        names,
        lambda name: Proof.YES if name.domain == "bank.example" else Proof.NO,
    )
    assert (found.sort, found.entry) == (Sort.ALLOWED, "bank.example")
