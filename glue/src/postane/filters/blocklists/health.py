"""Whether a list can be believed: what its tests and its answers say about it. Pure; the clock is the caller's.

A list is set aside where it is silent, where it does not talk to us, and where it lists everything: ORDB, dead since
2006, did so on 25 March 2008, and all who still asked it refused all mail. It is back when its tests pass again.

Tests come every quarter of an hour, and a list may die between two. So no hit is believed on its word alone: a
control, a name that cannot be listed and was never asked before, must be answered "not listed" *after* the hit. To
spare lists that have many hits, one control serves those of two seconds once thirty have been used up; but not while
the hits are more than chance would have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from postane.core.question import Answer
from postane.filters.blocklists.codes import Codes

BETWEEN_TESTS = 900.0  # seconds, give or take a fifth
_FIRST_REST = 15.0  # seconds until a list that was set aside is tested; each time twice as long
_LONGEST_REST = 600.0
_LONGEST_SILENCE = 60.0  # the same where it was only silent: often that is our own resolver, and soon over
_PATIENCE = 3  # questions without an answer, or with unknown codes, one after the other
_CONTROLS = 30.0  # that may be asked at once; then one each ...
_SERVES = 2.0  # ... seconds
_CHANCE = 0.001  # a run of hits that is less likely than that is suspicious
_SHARE_OF = 200  # answers over which the share of hits is counted


class State(Enum):
    """UNTESTED: it may be asked, and its hits count once its first test has passed."""

    UNTESTED = 0
    WELL = 1
    ASIDE = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a test: a sentence about what is wrong, "" if nothing; `silent` if that is only silence."""

    problem: str = ""
    silent: bool = False


def judge(listed: Answer, unlisted: Answer, control: Answer, codes: Codes) -> Trial:
    """What the answers to the three questions of a test say."""
    for answer in (unlisted, control):
        if answer.records:
            return Trial(codes.read(answer.records).fault or "lists everything")
    reading = codes.read(listed.records)
    if reading.fault:
        return Trial(reading.fault)
    for answer in (listed, unlisted, control):
        if answer.failed:
            return Trial(f"is silent: {answer.failed}", silent=True)
    if not listed.records:
        return Trial("does not list what it must list by its own rules (RFC 5782 section 5)")
    if not reading.codes:
        return Trial(f"answers {', '.join(reading.unknown)} to its test, which is none of the codes given for it")
    return Trial()


class Health:
    """Of one list, for one kind of question."""

    def __init__(self, now: float) -> None:
        self.state = State.UNTESTED
        self.reason = ""
        self.since = now
        self._rest = 0.0
        self._silences = 0
        self._unknown = 0
        self._run = 0  # hits one after the other since the last control
        self._share = 0.2  # of hits among the answers
        self._controls = _CONTROLS
        self._counted = now

    @property
    def rest(self) -> float:
        """Seconds for which a list that is set aside is left alone, before its next test."""
        return self._rest

    def pause(self, chance: float) -> float:
        """Seconds until the next test; `chance` between 0 and 1 spreads them."""
        spread = 0.8 + 0.4 * chance
        if self.state is State.ASIDE:
            return self._rest * spread
        return (_FIRST_REST if self._silences else BETWEEN_TESTS) * spread

    def tested(self, trial: Trial, now: float) -> None:
        if not trial.problem:
            self._silences = 0
            if self.state is not State.WELL:
                self._become(State.WELL, "", now)
                self._rest = 0.0
        elif trial.silent and self.state is State.WELL:
            self.silent(trial.problem, now)
        else:
            self.set_aside(trial.problem, now, _LONGEST_SILENCE if trial.silent else _LONGEST_REST)

    def set_aside(self, reason: str, now: float, longest: float = _LONGEST_REST) -> None:
        """Each time that it was still not well, the next test is further away, but at most `longest` seconds."""
        self._rest = min(self._rest * 2 or _FIRST_REST, longest)
        self._become(State.ASIDE, reason, now)

    def silent(self, reason: str, now: float) -> None:
        """A question had no answer, or none in time. A list that was never heard of has no credit."""
        self._silences += 1
        patience = _PATIENCE if self.state is State.WELL else 1
        if self._silences >= patience and self.state is not State.ASIDE:
            self.set_aside(reason, now, _LONGEST_SILENCE)

    def unknown(self, codes: str, now: float) -> None:
        """An answer within 127.0.0.0/8 that means nothing here."""
        self._silences = 0
        self._unknown += 1
        if self._unknown >= _PATIENCE and self.state is not State.ASIDE:
            self.set_aside(f"answers {codes}, which is none of the codes given for it", now)

    def unlisted(self) -> None:
        self._silences = self._run = 0
        self._share -= self._share / _SHARE_OF

    def hit(self) -> None:
        self._silences = self._unknown = 0
        self._run += 1
        self._share += (1 - self._share) / _SHARE_OF

    def needs_control(self, now: float) -> bool:
        """Whether the hit that was just told of is believed only after a control, which is then to be asked."""
        self._controls = min(self._controls + (now - self._counted) / _SERVES, _CONTROLS)
        self._counted = now
        if self._controls >= 1:
            self._controls -= 1
            return True
        return min(self._share, 0.97) ** self._run < _CHANCE

    def controlled(self) -> None:
        """A control was answered "not listed"."""
        self._run = 0

    def _become(self, state: State, reason: str, now: float) -> None:
        if state is not self.state:
            self.since = now
        self.state, self.reason = state, reason
        self._silences = self._unknown = self._run = 0
