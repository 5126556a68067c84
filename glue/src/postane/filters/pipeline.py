"""Runs the filters of a phase side by side, each within its time, and combines what they say.

A filter that raises, or is late, has the verdict of its failure policy: DEFER (451) unless its options say otherwise.
Never raises itself (core.ports.Filters).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import Verdict, combine
from postane.filters.base import FAILURES, PHASES, Filter, Options
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics

log = get_logger("filters")

_Call = Callable[[Filter[Options]], Coroutine[Any, Any, Verdict]]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one filter said in one phase, and how long it took."""

    filter: str
    phase: str
    verdict: Verdict
    seconds: float


class Pipeline:
    """The filters of one worker, in the order of the configuration. `seconds` bounds one phase as a whole."""

    def __init__(
        self, filters: Sequence[Filter[Options]] = (), seconds: float = 30.0, metrics: Metrics | None = None
    ) -> None:
        self.filters = tuple(filters)
        self._seconds = seconds
        self._metrics = metrics
        self._by_phase = {phase: [f for f in filters if phase in f.phases()] for phase in PHASES}

    @property
    def phases(self) -> frozenset[str]:
        return frozenset(phase for phase, filters in self._by_phase.items() if filters)

    async def connect(self, peer: Peer) -> Verdict:
        return _together(await self.judge("connect", lambda f: f.connect(peer)))

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return _together(await self.judge("mail", lambda f: f.mail(peer, sender)))

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return _together(await self.judge("rcpt", lambda f: f.rcpt(peer, sender, recipient)))

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return _together(await self.judge("data", lambda f: f.data(peer, envelope, body)))

    async def judge(self, phase: str, call: _Call) -> list[Judged]:
        """What each filter of the phase says, in the order of the configuration."""
        filters = self._by_phase[phase]
        if len(filters) == 1:  # no task for a single one: it is the common case, and a task costs as much as a parse
            return [await self._judge(filters[0], phase, call)]
        return list(await asyncio.gather(*(self._judge(f, phase, call) for f in filters)))

    async def close(self) -> None:
        for one in self.filters:
            await one.close()

    async def _judge(self, judge: Filter[Options], phase: str, call: _Call) -> Judged:
        begun = time.monotonic()
        limit = min(judge.options.timeout, self._seconds)
        try:
            async with asyncio.timeout(limit):
                verdict = await call(judge)
            if not isinstance(verdict, Verdict):
                verdict = self._failed(judge, phase, f"returned {type(verdict).__name__} instead of a Verdict")
        except Exception as error:  # whatever a filter does, the mail's fate is decided here
            reason = f"late after {limit:g} s" if isinstance(error, TimeoutError) else repr(error)
            verdict = self._failed(judge, phase, reason)
        return Judged(judge.name, phase, verdict, time.monotonic() - begun)

    def _failed(self, judge: Filter[Options], phase: str, reason: str) -> Verdict:
        policy = judge.options.on_failure
        log.error("filter_failed", filter=judge.name, phase=phase, reason=reason, then=policy)
        if self._metrics is not None:
            self._metrics.count("postane_filter_failures_total", "Filters that failed", filter=judge.name, phase=phase)
        replies = {
            "defer": Reply(451, "4.7.1", "A check could not be made; try again later"),
            "reject": Reply(554, "5.7.1", "A check could not be made"),
        }
        # A message that was not checked says so, wherever it ends.
        marked = (("X-Postane-Unchecked", judge.name),) if phase == "data" else ()
        return Verdict(FAILURES[policy], f"{judge.name}: {reason}", replies.get(policy), marked)


def _together(judged: Sequence[Judged]) -> Verdict:
    return combine(one.verdict for one in judged)
