"""Runs the filters of a phase side by side, each within its time, and combines what they say.

A filter that raises, or is late, has the verdict of its failure policy: DEFER (451) unless it says otherwise.
Never raises itself (core.ports.Filters).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict, combine
from postane.filters.base import PHASES, Filter

log = structlog.get_logger("filters")

_Call = Callable[[Filter], Coroutine[Any, Any, Verdict]]


class Pipeline:
    """The filters of one worker, in the order of the configuration."""

    def __init__(self, filters: Sequence[Filter] = ()) -> None:
        self._by_phase = {phase: [f for f in filters if phase in f.phases()] for phase in PHASES}

    @property
    def phases(self) -> frozenset[str]:
        return frozenset(phase for phase, filters in self._by_phase.items() if filters)

    async def connect(self, peer: Peer) -> Verdict:
        return await self._run("connect", lambda f: f.connect(peer))

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return await self._run("mail", lambda f: f.mail(peer, sender))

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return await self._run("rcpt", lambda f: f.rcpt(peer, sender, recipient))

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return await self._run("data", lambda f: f.data(peer, envelope, body))

    async def _run(self, phase: str, call: _Call) -> Verdict:
        filters = self._by_phase[phase]
        if not filters:
            return ACCEPT
        return combine(await asyncio.gather(*(_judge(f, phase, call) for f in filters)))


async def _judge(judge: Filter, phase: str, call: _Call) -> Verdict:
    try:
        verdict = await asyncio.wait_for(call(judge), judge.timeout)
    except Exception as error:  # whatever a filter does, the mail's fate is decided here
        reason = f"late after {judge.timeout} s" if isinstance(error, TimeoutError) else repr(error)
        return _failed(judge, phase, reason)
    if not isinstance(verdict, Verdict):
        return _failed(judge, phase, f"returned {type(verdict).__name__} instead of a Verdict")
    return verdict


def _failed(judge: Filter, phase: str, reason: str) -> Verdict:
    log.error("filter_failed", filter=judge.name, phase=phase, reason=reason, then=judge.on_failure.name.lower())
    replies = {
        Decision.DEFER: Reply(451, "4.7.1", "A check could not be made; try again later"),
        Decision.REJECT: Reply(554, "5.7.1", "A check could not be made"),
    }
    return Verdict(judge.on_failure, f"{judge.name}: {reason}", replies.get(judge.on_failure))
