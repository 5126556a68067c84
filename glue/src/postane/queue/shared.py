"""One copy of what a server says to thousands: its words are most of what a waiting message weighs. Pure."""

from __future__ import annotations

from sys import intern

from postane.core.outcome import Outcome, Progress, Tried
from postane.core.reply import Reply

_KEPT = 10_000  # different replies; servers that put a number into each would fill the memory otherwise


class Shared:
    """Makes equal values the same object."""

    def __init__(self) -> None:
        self._replies: dict[Reply, Reply] = {}

    def outcome(self, outcome: Outcome, address: str) -> Outcome:
        """The same outcome; `address` is the recipient's as the envelope has it."""
        reply = self._replies.get(outcome.reply)
        if reply is None:
            if len(self._replies) >= _KEPT:
                self._replies.clear()
            reply = self._replies[outcome.reply] = outcome.reply
        return Outcome(address, outcome.fate, reply, intern(outcome.remote))

    def progress(self, progress: Progress, addresses: dict[str, str]) -> Progress:
        """The same progress; `addresses` holds the envelope's by themselves."""
        recipients = {}
        for address, tried in progress.recipients.items():
            own = addresses.get(address, address)
            outcome = self.outcome(tried.outcome, own)
            recipients[own] = Tried(outcome, tried.attempts, tried.next_attempt, tried.told)
        return Progress(recipients, progress.warned, progress.held)
