"""What is known of a message in quarantine, and how an operator names several. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["held", "released", "deleted"]

SENT = "quarantine"  # key of Envelope.extra of what this stage sends by itself: a released message, a digest


class Fresh(Struct, frozen=True):
    """A message for one mailbox as it comes in. `author` and `subject` are decoded, on one line, and bounded."""

    spool_id: str
    mailbox: str
    tenant: str
    sender: str
    author: str
    subject: str
    received_at: float
    size: int
    reason: str
    score: float
    filter: str
    client_ip: str
    smtputf8: bool
    body_8bit: bool

    @property
    def domain(self) -> str:
        return self.mailbox.rpartition("@")[2]


class Item(Struct, frozen=True):
    """A row of the index. Times are seconds since the epoch, sizes octets; `id` is never used for another message.

    `changed_at` and `changed_by` tell of the last change of `state`; `learned` is "", "ham" or "spam"; `told` is the
    spool id of the digest that named it, "" before.
    """

    id: int
    spool_id: str
    mailbox: str
    domain: str
    tenant: str
    sender: str
    author: str
    subject: str
    received_at: float
    size: int
    reason: str
    score: float
    filter: str
    client_ip: str
    smtputf8: bool
    body_8bit: bool
    state: State
    changed_at: float
    changed_by: str
    learned: str
    told: str


class Selection(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which messages are meant; what is empty asks nothing. Text is compared without case.

    `ids` are numbers of items or spool ids (then of all mailboxes that the message was meant for);
    `reason` is a part of the reason or a filter's name; `since` is a time: received then or later.
    """

    ids: tuple[str, ...] = ()
    account: str = ""
    domain: str = ""
    tenant: str = ""
    reason: str = ""
    since: float = 0.0
    state: State | Literal[""] = ""


class Settings(Struct, frozen=True):
    """What may differ from mailbox to mailbox. `keep` is seconds."""

    keep: float
    digest: Literal["daily", "weekly", "never"]
    language: Literal["en", "tr"]
