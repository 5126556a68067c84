"""Runs filters side by side, each within its time, and sees to it that what they say can be used.

A filter that raises, is late or returns rubbish has the verdict of its failure policy: DEFER (451) unless its options
say otherwise. Nothing here raises.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict, combine
from postane.filters.base import FAILURES, PHASES, Filter, Options
from postane.filters.begun import Begun
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics

log = get_logger("filters")

Call = Callable[[Filter[Options]], Coroutine[Any, Any, Verdict]]

_NAME = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 section 3.6.8
_LOOSE_END = re.compile(r"\r(?!\n)|(?<!\r)\n|\r\n(?![ \t])|\0")  # what would end a header field before its end
_STATUS = re.compile(r"(?:[245]\.\d{1,3}\.\d{1,3})?")  # RFC 3463
_MOST = 65_536  # octets of a header field


@dataclass(frozen=True, slots=True)
class Judged:
    """What one filter said in one phase, and how long it took."""

    filter: str
    phase: str
    verdict: Verdict
    seconds: float


class Judge:
    """Asks filters. `seconds` bounds one phase as a whole: they run side by side."""

    def __init__(self, seconds: float = 30.0, metrics: Metrics | None = None) -> None:
        self._seconds = seconds
        self._metrics = metrics or Metrics()
        self._said = self._metrics.tally(
            "postane_filter_verdicts_total", "What filters said", "filter", "phase", "decision"
        )
        self._clocks: dict[tuple[str, str], Callable[[float], None]] = {}
        self._left: set[asyncio.Task[None]] = set()

    async def all(self, filters: Sequence[Filter[Options]], phase: str, calls: Sequence[Call]) -> list[Judged]:
        """What each of the filters says, in order; `calls` has the question for each."""
        loop = asyncio.get_running_loop()
        asked: list[Begun] = []
        waiting: dict[asyncio.Task[None], float] = {}  # with the instants at which they are late
        for judge, call in zip(filters, calls, strict=True):
            question = Begun(_coroutine(call, judge))
            task = question.begin(loop)
            asked.append(question)
            if not question.ended:
                waiting[task] = question.begun + self._limit(judge)
        if waiting:
            await self._wait(waiting)
        return [self._judged(judge, phase, question) for judge, question in zip(filters, asked, strict=True)]

    def _limit(self, judge: Filter[Options]) -> float:
        return min(judge.options.timeout, self._seconds)

    async def _wait(self, waiting: dict[asyncio.Task[None], float]) -> None:
        """Until all have answered or are late. Those are left behind: a filter may not let itself be cancelled."""
        try:
            while waiting:
                done, _ = await asyncio.wait(waiting, timeout=max(0.0, min(waiting.values()) - time.monotonic()))
                now = time.monotonic()
                for task in [task for task, late in waiting.items() if task in done or late <= now]:
                    del waiting[task]
                    self._leave(task)
        finally:
            for task in waiting:  # the peer has gone, or this process goes
                self._leave(task)

    def _leave(self, task: asyncio.Task[None]) -> None:
        if not task.done():
            task.cancel()
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    def _judged(self, judge: Filter[Options], phase: str, question: Begun) -> Judged:
        verdict = question.answer
        if not question.ended:
            reason = f"late after {self._limit(judge):g} s"
        elif isinstance(question.error, asyncio.CancelledError):
            reason = "cancelled itself"
        elif question.error is not None:
            reason = repr(question.error)
        else:
            try:
                reason = _fault(verdict)
            except Exception as error:
                reason = repr(error)
        said = self._failed(judge, phase, reason) if reason or not isinstance(verdict, Verdict) else verdict
        if said.decision:
            said = replace(said, by=judge.name)
        seconds = (question.ended or time.monotonic()) - question.begun
        self._clock(judge.name, phase)(seconds)
        self._said[judge.name, phase, said.decision.name.lower()] += 1
        return Judged(judge.name, phase, said, seconds)

    def _clock(self, name: str, phase: str) -> Callable[[float], None]:
        clock = self._clocks.get((name, phase))
        if clock is None:
            clock = self._clocks[name, phase] = self._metrics.clock(
                "postane_filter_seconds", "Time of a call", filter=name, phase=phase
            )
        return clock

    def _failed(self, judge: Filter[Options], phase: str, reason: str) -> Verdict:
        policy = judge.options.on_failure
        log.error("filter_failed", filter=judge.name, phase=phase, reason=reason, then=policy)
        self._metrics.count("postane_filter_failures_total", "Filters that failed", filter=judge.name, phase=phase)
        replies = {
            "defer": Reply(451, "4.7.1", "A check could not be made; try again later"),
            "reject": Reply(554, "5.7.1", "A check could not be made"),
        }
        # A message that was not checked says so, wherever it ends.
        marked = (("X-Postane-Unchecked", judge.name),) if phase == "data" else ()
        return Verdict(FAILURES[policy], f"{judge.name}: {reason}", replies.get(policy), marked)


class Pipeline:
    """Filters that judge together, in the order of the configuration."""

    def __init__(self, filters: Sequence[Filter[Options]] = (), judge: Judge | None = None) -> None:
        self.filters = tuple(filters)
        self.judge = judge or Judge()
        self._by_phase = {phase: tuple(f for f in filters if phase in f.phases()) for phase in PHASES}

    @property
    def phases(self) -> frozenset[str]:
        return frozenset(phase for phase, filters in self._by_phase.items() if filters)

    def of(self, phase: str, *, own: bool = False) -> tuple[Filter[Options], ...]:
        """The filters of a phase; `own`: those that judge our own users too."""
        filters = self._by_phase[phase]
        return tuple(one for one in filters if one.members) if own else filters

    async def connect(self, peer: Peer) -> Verdict:
        return await self._all("connect", lambda f: f.connect(peer))

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return await self._all("mail", lambda f: f.mail(peer, sender))

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return await self._all("rcpt", lambda f: f.rcpt(peer, sender, recipient))

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return await self._all("data", lambda f: f.data(peer, envelope, body))

    async def _all(self, phase: str, call: Call) -> Verdict:
        filters = self._by_phase[phase]
        return combine(one.verdict for one in await self.judge.all(filters, phase, [call] * len(filters)))

    async def close(self) -> None:
        for one in self.filters:
            await one.close()


async def _coroutine(call: Call, judge: Filter[Options]) -> Verdict:
    """A filter's method may be anything, such as one that is no coroutine: within this it fails as any other."""
    return await call(judge)


def _fault(verdict: object) -> str:
    """Why what a filter returned cannot be used: it would break the dialogue or the message; "" if it can.

    Raises whatever parts of the wrong type raise.
    """
    if verdict is ACCEPT:
        return ""
    if not isinstance(verdict, Verdict):
        return f"returned {type(verdict).__name__} instead of a Verdict"
    if not isinstance(verdict.decision, Decision):
        return f"decides {verdict.decision!r}"
    if not isinstance(verdict.why, str):
        return f"gives the reason {verdict.why!r}"
    if verdict.wrap is not None and not all(isinstance(part, bytes) for part in verdict.wrap):
        return "wants what is no octets around the text"
    if not math.isfinite(verdict.score):
        return f"has the score {verdict.score}"
    for name, value in verdict.headers:
        if not _NAME.fullmatch(name) or _LOOSE_END.search(value) or len(value.encode()) > _MOST:
            return f"wants a header that is none: {name!r}"
    for name, value in verdict.copy_headers:
        if not _NAME.fullmatch(name) or _LOOSE_END.search(value):
            return f"wants a header that is none: {name!r}"
    for at, octets in verdict.patches:
        if at < 0 or not isinstance(octets, bytes):
            return f"wants octets replaced at {at!r}"
    for address in verdict.copies:
        Address.parse(address)
    hash(verdict)  # the same words are told from others by it: lists in the place of tuples will not do
    if (reply := verdict.reply) is not None and verdict.decision in (Decision.DEFER, Decision.REJECT):
        fits = reply.temporary if verdict.decision is Decision.DEFER else 500 <= reply.code < 600
        if not fits:
            return f"answers {reply.code} where it means {verdict.decision.name}"
        if not reply.text.replace("\n", "").isprintable() or not _STATUS.fullmatch(reply.enhanced):
            return "answers with a reply that would end before its end"
    return ""
