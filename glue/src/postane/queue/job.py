"""What the queue schedules: one message for one destination, with the recipients that are still to be served."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from postane.core.envelope import Recipient
from postane.core.outcome import Progress
from postane.core.ports import Claimed


class State(StrEnum):
    READY = "ready"  # waits for its turn
    WAITING = "waiting"  # waits for its time
    RUNNING = "running"
    HELD = "held"  # the operator stopped it
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Entry:
    """A message in the queue. `expires_at` is when it bounces.

    `telling`: a notice to the sender is being made.
    A hundred thousand of these may wait: the envelope is not in memory meanwhile (see core.ports.Claimed.rest).
    """

    message: Claimed
    received_at: float
    expires_at: float
    jobs: list[Job] = field(default_factory=list)
    telling: bool = False

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def progress(self) -> Progress:
        """All that is known of it."""
        return self.message.progress

    @property
    def held(self) -> bool:
        return bool(self.message.progress.held)


@dataclass(slots=True, eq=False)
class Job:
    """`tenant` and `domain` say whose turn it uses: the tenant, and the hosted domain (the sender's on the way out,
    the recipient's on the way in). `when` is when it is due. `ticket` voids an old place in the heap; `before` and
    `after` are its neighbours in its lane.
    """

    entry: Entry
    tenant: str
    domain: str
    destination: str
    local: bool
    recipients: tuple[Recipient, ...]
    attempts: int = 0
    when: float = 0.0
    state: State = State.READY
    ticket: int = 0
    before: Job | None = None
    after: Job | None = None
