from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from postane.core.envelope import Envelope, Recipient
from postane.core.errors import TemporaryError
from postane.core.outcome import Fate, Outcome
from postane.core.ports import Claimed, Mailbox
from postane.core.reply import Reply
from postane.delivery.owner import OwnersOnly
from support.queue import Mail

SINCE = 1000.0


class Inner:
    def __init__(self) -> None:
        self.given: list[list[str]] = []

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        self.given.append([one.address for one in recipients])
        return [Outcome(one.address, Fate.DELIVERED, Reply(250, "2.0.0", "OK"), "inner") for one in recipients]

    async def close(self) -> None:
        self.given.append(["closed"])


async def find(address: str) -> Mailbox | None:
    if address.startswith("down"):
        raise TemporaryError("the directory is away")
    return None if address.startswith("gone") else Mailbox(7, "f", SINCE)


def deliver(*recipients: Recipient, at: float = SINCE + 1) -> tuple[Inner, list[Outcome]]:
    inner = Inner()
    message = Mail(Envelope("1" * 26, "x@far.test", recipients, at))
    return inner, asyncio.run(OwnersOnly(inner, find, "lmtp").deliver(message, list(recipients)))


@pytest.mark.parametrize(
    ("mailbox", "at", "taken"),
    [
        (7, SINCE + 1, True),
        (7, SINCE - 1, True),  # clocks of two hosts: what the recipient says goes first
        (6, SINCE + 1, False),  # the one that had the address before
        (0, SINCE + 1, True),  # accepted by an earlier version
        (0, SINCE - 1, False),
    ],
)
def test_only_what_was_accepted_for_the_mailbox_comes_to_it(mailbox: int, at: float, taken: bool) -> None:
    inner, (outcome,) = deliver(Recipient("a@demo.test", mailbox=mailbox), at=at)
    assert inner.given == ([["a@demo.test"]] if taken else [])
    assert (outcome.fate is Fate.DELIVERED, outcome.reply.enhanced) == (taken, "2.0.0" if taken else "5.1.1")


def test_each_recipient_has_an_outcome_in_its_place() -> None:
    inner, outcomes = deliver(*(Recipient(f"{one}@demo.test", mailbox=7) for one in ("gone", "a", "down", "b")))
    assert inner.given == [["a@demo.test", "b@demo.test"]]
    assert [(one.recipient[0], one.fate.value) for one in outcomes] == [
        ("g", "failed"),
        ("a", "delivered"),
        ("d", "delayed"),
        ("b", "delivered"),
    ]
