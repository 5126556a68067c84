"""When to try again, when to tell the sender of a delay, when to give up. Pure: told the time, and a source of chance.

Waits grow by a factor from a first to a longest one, each with a random share so that messages that failed together
do not come back together. What the peer said bends the schedule: see `Kind`.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random

from postane.config.model import Queue
from postane.core.envelope import Envelope
from postane.core.outcome import Outcome


class Kind(StrEnum):
    """Why a delivery is delayed."""

    UNREACHABLE = "unreachable"  # no server answered: the destination is at fault, not the message
    BUSY = "busy"  # the server wants fewer connections or a pause
    GREYLISTED = "greylisted"  # it wants to see us again in some minutes
    RECIPIENTS = "recipients"  # it takes no more recipients in one transaction
    MAILBOX = "mailbox"  # full or locked: soon again helps nobody
    OTHER = "other"


_BUSY_STATUS = frozenset({"4.3.2", "4.4.5", "4.7.28"})
_BUSY_WORDS = ("too many", "rate", "throttl", "try again later, connection")
_GREYLIST_WORDS = ("greylist", "graylist", "grey-list", "gray-list")
_GREYLIST_MOST = 900.0
_BUSY_SOONER = 5  # a pause begins with this part of the first wait
_BUSY_MOST = 1800.0
_MAILBOX_LEAST = 4


def kind_of(outcome: Outcome) -> Kind:
    """Reads code, enhanced status (RFC 3463) and, where those say little, the words of a delayed outcome."""
    reply = outcome.reply
    words = reply.text.lower()
    if reply.enhanced in _BUSY_STATUS:
        return Kind.BUSY
    # RFC 5321 section 4.5.3.1.10: 452 for one recipient too many, which many servers say without an enhanced code.
    if reply.enhanced == "4.5.3" or (reply.code == 452 and not reply.enhanced and "recipients" in words):
        return Kind.RECIPIENTS
    # 4.4.x from this host is our own finding about the network (no route, no answer, no DNS).
    if reply.enhanced.startswith("4.4.") and not outcome.remote:
        return Kind.UNREACHABLE
    if any(word in words for word in _GREYLIST_WORDS):
        return Kind.GREYLISTED
    if reply.code == 421 or (reply.enhanced.startswith("4.7.") and any(word in words for word in _BUSY_WORDS)):
        return Kind.BUSY
    if reply.enhanced.startswith("4.2."):
        return Kind.MAILBOX
    return Kind.OTHER


class Schedule:
    """The times of one queue."""

    def __init__(self, settings: Queue, random: Random) -> None:
        self._settings = settings
        self._random = random

    def wait(self, attempts: int, kind: Kind = Kind.OTHER, *, local: bool = False) -> float:
        """Seconds until the next attempt, after `attempts` (at least 1) have failed."""
        settings = self._settings
        first, most = settings.retry_first, settings.retry_most
        if local:
            first, most = settings.local_retry_first, settings.local_retry_most
        if kind is Kind.MAILBOX:
            first = min(first * _MAILBOX_LEAST, most)
        elif kind is Kind.BUSY:
            first, most = first / _BUSY_SOONER, min(most, _BUSY_MOST)
        elif kind is Kind.GREYLISTED:
            most = min(most, _GREYLIST_MOST)
        # The power is bounded, so that a message with thousands of attempts does not overflow.
        plain = min(first * settings.retry_factor ** min(attempts - 1, 64), most)
        return plain * (1 + settings.retry_jitter * self._random.uniform(-1, 1))

    def longest_wait(self, *, local: bool = False) -> float:
        """No wait is longer."""
        most = self._settings.local_retry_most if local else self._settings.retry_most
        return max(most, self.first_wait(local=local)) * (1 + self._settings.retry_jitter)

    def first_wait(self, *, local: bool = False) -> float:
        """The shortest time between two attempts at a destination that does not answer."""
        return self._settings.local_retry_first if local else self._settings.retry_first

    def expires_at(self, envelope: Envelope) -> float:
        """When an undelivered message bounces; earlier for mail of the null sender, which nobody waits for."""
        age = self._settings.expire if envelope.sender else self._settings.expire_bounce
        return envelope.received_at + age

    def warns_at(self, envelope: Envelope) -> float:
        return envelope.received_at + self._settings.delay_warning
