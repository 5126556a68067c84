"""What becomes of findings from look to look, what of them is mended, and when somebody is told. Pure: no clock.

A finding that hangs on others' servers (silence, a lame one) counts only if several looks in a row have made it. What
a look could not see neither begins nor ends a finding. Only what is ours is mended, by the lines of the plan that put
it back, and not for ever where somebody takes it away again and again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from postane.domains.drift import DAY, Drift, Found, Look, subject_of
from postane.domains.plan import Action, Plan

KEPT = 30 * DAY  # how long a finding that is over is remembered
AGAIN = 600.0  # seconds to the next look where something has to be seen once more
APART = 60.0  # seconds between two looks that count as two
MOST_REPAIRS = 3  # of one thing, each within a day of the one before: then it is a person's to settle
HOURLY = 3600.0

# So many looks in a row have to see it; of all others one is enough.
LOOKS = {
    Drift.SPF_OVER: 2,  # others' records count in it
    Drift.LAME: 2,
    Drift.EXPIRED: 2,
    Drift.DNSSEC_BROKEN: 2,
    Drift.ELSEWHERE: 2,
    Drift.SILENT: 3,
    Drift.UNREACHABLE: 3,
    Drift.TARGET_AWAY: 3,
    Drift.REVERSE_WRONG: 2,
}
# Mail is lost, refused or read by others: the operator hears of it within the hour.
URGENT = frozenset(
    {
        Drift.MX_GONE,
        Drift.MX_FOREIGN,
        Drift.SPF_TWO,
        Drift.UNREACHABLE,
        Drift.ELSEWHERE,
        Drift.EXPIRED,
        Drift.DNSSEC_BROKEN,
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """A finding through time, all times seconds since the epoch. `seen`: looks in a row that saw it, of `looks` that
    have to. `repairs` counts those that did not last. `ended_at`: when it was seen to be over, or was repaired.
    `id` is whose it is to whoever keeps it, 0 for a new one.
    """

    kind: Drift
    subject: str
    data: str
    first_seen: float
    last_seen: float
    looks: int = 1
    seen: int = 1
    ours: bool = False
    repairs: int = 0
    repaired_at: float | None = None
    ended_at: float | None = None
    told_at: float | None = None
    id: int = 0

    @property
    def open(self) -> bool:
        """True for what is so now, for all that is known."""
        return self.ended_at is None and self.seen >= self.looks

    @property
    def pending(self) -> bool:
        """True for what has to be seen once more."""
        return self.ended_at is None and self.seen < self.looks

    @property
    def repairable(self) -> bool:
        return self.open and self.ours and self.repairs < MOST_REPAIRS

    @property
    def by_word(self) -> bool:
        """True for what is not ours alone, and can be put right all the same if the operator says so."""
        return self.open and self.kind is Drift.SPF_TWO


# -- from look to look -------------------------------------------------------------------------------------------------


def follow(cases: Iterable[Case], look: Look, now: float) -> list[Case]:
    """The cases after a look: those that go on, those that are over, and new ones."""
    left = {(one.kind, one.subject): one for one in look.found}
    after: list[Case] = []
    for case in cases:
        key = (case.kind, case.subject)
        if case.ended_at is not None:
            if key in left and now - case.ended_at < DAY:
                after.append(_begun_again(case, left.pop(key), now))
            elif now - case.ended_at < KEPT:
                after.append(case)
        elif key in left:
            one = left.pop(key)
            counts = now - case.last_seen >= APART
            seen = case.seen + counts
            after.append(
                replace(case, data=one.data, ours=one.ours, seen=seen, last_seen=now if counts else case.last_seen)
            )
        elif not look.saw(case.kind, case.subject):
            after.append(case)
        elif case.open:
            after.append(replace(case, ended_at=now))
        # What was seen too seldom to count, and is not so any more, never was.
    after += [
        Case(one.kind, one.subject, one.data, now, now, LOOKS.get(one.kind, 1), 1, one.ours) for one in left.values()
    ]
    return after


def _begun_again(case: Case, one: Found, now: float) -> Case:
    """The same as before, not a new one: it is told of once a day, and repaired so often and no more."""
    return replace(case, data=one.data, ours=one.ours, seen=1, first_seen=now, last_seen=now, ended_at=None)


def mend(plan: Plan, cases: Iterable[Case], *, word: bool = False) -> Plan | None:
    """The lines of the plan that put back what is ours, and no others; None if there are none.

    `word`: the operator wants it, also where another's record changes with it (two SPF records become one).
    """
    subjects = {case.subject for case in cases if case.repairable or (word and case.by_word)}
    lines = [
        line
        for line in plan.of(Action.ADD, Action.CHANGE)
        if line.record is not None and subject_of(line.record) in subjects
    ]
    made = plan.only(lines)
    return made if made.changes else None


def mended(cases: Iterable[Case], subjects: Collection[str], now: float) -> list[Case]:
    """The cases once these subjects have been put back."""
    return [
        replace(case, repaired_at=now, repairs=case.repairs + 1, ended_at=now)
        if (case.repairable or case.by_word) and case.subject in subjects
        else case
        for case in cases
    ]


# -- when --------------------------------------------------------------------------------------------------------------


def due(domain: str, cases: Iterable[Case], every: float, now: float) -> float:
    """When to look next: at the domain's own moment of each interval, or soon where something has to be seen again."""
    if any(case.pending for case in cases):
        return now + min(AGAIN, every)
    phase = int.from_bytes(hashlib.sha256(domain.encode()).digest()[:4], "big") / 2**32 * every
    return (math.floor((now - phase) / every) + 1) * every + phase


def news(cases: Iterable[Case], now: float) -> list[Case]:
    """What the operator has not been told: what is open, what has been repaired, and the end of what was told.

    Of one finding at most once a day.
    """
    found = []
    for case in cases:
        if case.told_at is not None and now - case.told_at < DAY:
            continue
        if case.open:
            told = case.told_at is not None and case.told_at >= case.first_seen
        elif case.ended_at is not None:
            known = case.told_at is not None or case.repaired_at == case.ended_at
            told = not known or (case.told_at is not None and case.told_at >= case.ended_at)
        else:
            told = True
        if not told:
            found.append(case)
    return found


def mail_is_due(untold: Sequence[Case], last_mail: float | None, now: float) -> bool:
    """One mail a day; where mail is in danger one an hour."""
    if not untold:
        return False
    urgent = any(case.open and case.kind in URGENT for case in untold)
    return last_mail is None or now - last_mail >= (HOURLY if urgent else DAY)
