"""When a certificate is asked for: what is due, how urgent it is, how long to hold back after a failure. Pure.

A certificate is renewed when two thirds of its life are over, a little sooner by chance, so that those made in one hour
do not all come back in one hour; an authority that advises a time is followed (RFC 9773). "Chance" is a digest of what
the certificate is: the same question has the same answer in every run, and no run has to remember what it drew.
Times are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

HOUR = 3600.0
DAY = 86_400.0
SHARE = 2 / 3  # of its life, after which a certificate is renewed
JITTER = 0.05  # of its life, by which that is sooner
PRESSING = 1 / 9  # of its life: with less left, a renewal goes before all else
FIRST, LONGEST = HOUR, DAY  # wait after the first failure, and after many
LONGEST_PRESSING = 6 * HOUR  # the same where the certificate is about to end
REST = 600.0  # wait after the first time that the authority is away
SPREAD = 0.1  # share of a wait that is left to chance
ADVICE_LEAST, ADVICE_MOST = 60.0, DAY  # between two questions for advice, whatever the authority says


class Reason(StrEnum):
    """Why a certificate is asked for, or why it is not."""

    MISSING = "missing"
    ENDED = "ended"
    PRESSING = "pressing"  # it ends soon, and should have been renewed by now
    NAMES = "names"  # a name has come that it does not have
    DUE = "due"
    ADVISED = "advised"  # the authority says so
    ASKED = "asked"  # somebody says so
    GOOD = "good"


class Urgency(IntEnum):
    """Who goes first where not all may go."""

    PRESSING = 0
    MISSING = 1
    NAMES = 2
    DUE = 3


_URGENCY = {
    Reason.ENDED: Urgency.PRESSING,
    Reason.PRESSING: Urgency.PRESSING,
    Reason.ASKED: Urgency.PRESSING,
    Reason.MISSING: Urgency.MISSING,
    Reason.NAMES: Urgency.NAMES,
}


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which the authority would like a renewal (RFC 9773 section 4.1)."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One certificate as it is. `not_after` 0: there is none. `advice` is the authority's, None where it gives none.

    `more`: a name is wanted that it does not have. `failures` in a row, and `retry_at`, before which it is left alone.
    """

    name: str
    not_before: float = 0.0
    not_after: float = 0.0
    advice: Window | None = None
    more: bool = False
    failures: int = 0
    retry_at: float = 0.0

    @property
    def life(self) -> float:
        return max(self.not_after - self.not_before, 0.0)

    def left(self, now: float) -> float:
        """Share of its life that is left, 0 … 1."""
        return min(max(self.not_after - now, 0.0) / self.life, 1.0) if self.life else 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """`reason` to order now, or GOOD and `at`, when it is due. `at` is in the future where something holds it back."""

    name: str
    reason: Reason
    at: float
    urgency: Urgency = Urgency.DUE
    held: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `orders` within `window` seconds."""

    orders: int
    window: float


def due_at(one: Standing) -> float:
    """When it is to be renewed; 0 where there is none."""
    if not one.not_after:
        return 0.0
    chance = _chance(f"{one.name} {one.not_after:.0f}")
    advice = one.advice
    if advice is not None and advice.start <= advice.end and advice.start < one.not_after:
        return min(advice.start + chance * (advice.end - advice.start), one.not_after)
    return one.not_before + one.life * (SHARE - JITTER * chance)


def judge(one: Standing, now: float, *, asked: bool = False) -> Turn:
    """What to do about one certificate. `asked`: somebody wants it now, whatever held it back."""
    due = due_at(one)
    if asked:
        reason = Reason.ASKED
    elif not one.not_after:
        reason = Reason.MISSING
    elif one.not_after <= now:
        reason = Reason.ENDED
    elif due <= now and one.left(now) < PRESSING:
        reason = Reason.PRESSING
    elif one.more:
        reason = Reason.NAMES
    elif due <= now:
        reason = Reason.ADVISED if one.advice is not None else Reason.DUE
    else:
        return Turn(one.name, Reason.GOOD, due)
    urgency = _URGENCY.get(reason, Urgency.DUE)
    if not asked and one.retry_at > now:
        # A clock that was far ahead when it was set would hold it back for ever.
        at = min(one.retry_at, now + LONGEST)
        return Turn(one.name, reason, at, urgency, f"after {one.failures} failures")
    return Turn(one.name, reason, now, urgency)


def queue(turns: Iterable[Turn], now: float, ordered: Sequence[float], limits: Limits) -> list[Turn]:
    """Those that are not GOOD, the most urgent first; what goes beyond the limits is held until there is room, but for
    what somebody asks for.

    `ordered`: when earlier orders were made. Those of the future are of a clock that was wrong, and do not count.
    """
    recent = sorted(at for at in ordered if now - limits.window < at <= now)
    wanted = sorted(
        (one for one in turns if one.reason is not Reason.GOOD), key=lambda one: (one.urgency, one.at, one.name)
    )
    found: list[Turn] = []
    room = limits.orders - len(recent)
    waiting = 0
    for one in wanted:
        if one.at > now:
            found.append(one)
        elif room > 0 or one.reason is Reason.ASKED:
            room -= 1
            found.append(one)
        else:
            # One may go whenever an order falls out of the window.
            at = recent[min(waiting, len(recent) - 1)] + limits.window if recent else now + limits.window
            waiting += 1
            found.append(replace(one, at=at, held=f"{limits.orders} orders in {limits.window / HOUR:g} h are enough"))
    return found


def retry_at(name: str, failures: int, now: float, *, pressing: bool = False, asked_to_wait: float = 0.0) -> float:
    """When to try again after `failures` in a row (1 or more); never before `asked_to_wait`, a time of the authority's,
    as far as that is within a week.
    """
    longest = LONGEST_PRESSING if pressing else LONGEST
    wait = min(FIRST * 2.0 ** min(max(failures, 1) - 1, 30), longest)
    wait *= 1 + SPREAD * (2 * _chance(f"{name} {failures} {now:.0f}") - 1)
    return max(now + wait, min(asked_to_wait, now + 7 * DAY))


def rest_until(failures: int, now: float, asked_to_wait: float = 0.0) -> float:
    """When to ask an authority again that is away, or that has had enough of us; `asked_to_wait` in seconds."""
    rest = min(REST * 2.0 ** min(max(failures, 1) - 1, 30), LONGEST_PRESSING)
    return now + max(rest, min(asked_to_wait, 7 * DAY))


def next_look(looks: int, now: float, *, held: bool) -> float:
    """When to see again where a domain's names lead, after `looks` that have changed nothing."""
    return now + (DAY if held else min(FIRST * 2.0 ** min(looks, 10), DAY))


def next_advice(now: float, seconds: float) -> float:
    """When to ask for advice again; `seconds` is what the authority says (Retry-After)."""
    return now + min(max(seconds, ADVICE_LEAST), ADVICE_MOST)


def _chance(text: str) -> float:
    """0 … 1, the same for the same text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
