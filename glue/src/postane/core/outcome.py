"""What became of one recipient in one attempt at delivery, and what is known of a message after many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from postane.core.reply import Reply


class Fate(StrEnum):
    """DELIVERED and FAILED are final; DELAYED is tried again; RELAYED: handed to a server without DSN support."""

    DELIVERED = "delivered"
    RELAYED = "relayed"
    DELAYED = "delayed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one recipient. `reply` holds the peer's real words, or ours where no peer spoke.

    `remote` names who said it ("mx.example.net", "lmtp"), "" if it was this host.
    """

    recipient: str
    fate: Fate
    reply: Reply
    remote: str = ""

    @property
    def final(self) -> bool:
        return self.fate is not Fate.DELAYED

    @classmethod
    def from_reply(cls, recipient: str, reply: Reply, remote: str = "") -> Outcome:
        """2xx is delivered, 4xx delayed, anything else failed."""
        fate = Fate.DELIVERED if reply.ok else Fate.DELAYED if reply.temporary else Fate.FAILED
        return cls(recipient, fate, reply, remote)


class Action(StrEnum):
    """What a delivery status notification tells (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class Tried:
    """One recipient after its last attempt.

    `attempts` counts the attempts so far; `next_attempt` (seconds since the epoch) is 0 where the outcome is final.
    `told`: the sender knows of a final outcome, or need not; without it a notice is still owed after a restart.
    """

    outcome: Outcome
    attempts: int = 1
    next_attempt: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message is: the whole state, or an update to it; the state is the fold of its updates.

    `recipients` is keyed by the recipient's address as the envelope has it; an entry replaces the one before.
    `warned` (the sender was told of a delay) and `held` (the operator stopped it) are None where an update says
    nothing about them. All values are absolute, so an update that is read twice does no harm.
    The fields are plain enough for any JSON encoder that knows dataclasses.
    """

    recipients: Mapping[str, Tried] = field(default_factory=dict)
    warned: bool | None = None
    held: bool | None = None

    def merged(self, update: Progress) -> Progress:
        """The state after `update`."""
        return Progress(
            {**self.recipients, **update.recipients} if update.recipients else self.recipients,
            self.warned if update.warned is None else update.warned,
            self.held if update.held is None else update.held,
        )
