"""What became of one recipient in one attempt at delivery."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message is: what the queue's journal keeps of it. A state is the fold of its updates.

    As an update it holds only what is new: the outcomes of one attempt, the new attempt count and next time, or a
    changed mark; None and empty leave things as they are. Times are seconds since the epoch.
    """

    outcomes: tuple[Outcome, ...] = ()
    attempts: int | None = None
    next_attempt: float | None = None
    warned: bool | None = None
    held: bool | None = None

    def merged(self, update: Progress) -> Progress:
        """This state after `update`: a later outcome of a recipient replaces the earlier one."""
        outcomes = self.outcomes
        if update.outcomes:
            latest = {outcome.recipient: outcome for outcome in (*outcomes, *update.outcomes)}
            outcomes = tuple(latest.values())
        return Progress(
            outcomes,
            self.attempts if update.attempts is None else update.attempts,
            self.next_attempt if update.next_attempt is None else update.next_attempt,
            self.warned if update.warned is None else update.warned,
            self.held if update.held is None else update.held,
        )

    def outcome_of(self, recipient: str) -> Outcome | None:
        return next((outcome for outcome in self.outcomes if outcome.recipient == recipient), None)
