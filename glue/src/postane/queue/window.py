"""How many deliveries one destination gets at once: grows with success, falls with failure. Pure.

A destination that nobody answers for is closed until its next trial, and then gets one delivery until that went well:
thousands of messages for a dead server cost one connection attempt now and then, and nobody else waits for them.
One that answers "not now, not so many" has its pause, a shorter one: to ask it again with each message that waits
would only earn longer refusals.
"""

from __future__ import annotations

from postane.core.outcome import Outcome

FIRST = 2  # deliveries at once to a destination of which nothing is known


class Window:
    """The state of one destination. `most` is the limit that the configuration sets."""

    __slots__ = (
        "active",
        "closed_until",
        "failures",
        "last",
        "last_failure",
        "limit",
        "local",
        "most",
        "name",
        "pauses",
    )

    def __init__(self, name: str, most: int, *, local: bool = False) -> None:
        self.name = name
        self.local = local
        self.most = most
        self.limit = most if local else min(FIRST, most)
        self.active = 0
        self.failures = 0  # trials in a row that found nobody
        self.pauses = 0  # trials in a row that were answered by "not now"
        self.closed_until = 0.0
        self.last_failure = 0.0
        self.last: Outcome | None = None  # why it is closed

    def is_open(self, now: float) -> bool:
        return self.active < self.limit and now >= self.closed_until

    def succeeded(self) -> None:
        self.failures = self.pauses = 0
        self.closed_until = 0.0
        self.last = None
        self.limit = min(self.limit + 1, self.most)

    def busy(self) -> None:
        """The server took some but wants fewer at once."""
        self.limit = max(1, self.limit // 2)

    def paused(self, now: float, wait: float, why: Outcome) -> None:
        """The server took nothing and wants fewer at once, or later: closed for `wait` seconds."""
        self.busy()
        if now < self.closed_until:
            return
        self.pauses += 1
        self.last_failure = now
        self.closed_until = now + wait
        self.last = why

    def unreachable(self, now: float, wait: float, why: Outcome) -> None:
        """Nobody answered: closed for `wait` seconds."""
        if now < self.closed_until:
            return  # one of several that were under way when it broke: the first has said it
        self.failures += 1
        self.limit = 1
        self.last_failure = now
        self.closed_until = now + wait
        self.last = why

    def hurry(self, first_wait: float) -> bool:
        """New mail came for it: the next trial need not wait longer than the first would have. True if it is sooner."""
        before = self.closed_until
        self.closed_until = min(before, self.last_failure + first_wait)
        return self.closed_until < before

    def reopen(self) -> None:
        """The operator wants a trial now."""
        self.closed_until = 0.0
