"""The pipeline: strongest verdict wins, and a filter that fails never lets a mail pass by accident."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from postane.core.address import Address
from postane.core.peer import Peer, Service
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Filter
from postane.filters.pipeline import Pipeline

PEER = Peer(Service.SMTP, "192.0.2.1", 4711)


class Says(Filter):
    name = "says"

    def __init__(self, verdict: Verdict, wait: float = 0.0) -> None:
        self.verdict, self.wait = verdict, wait

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        await asyncio.sleep(self.wait)
        return self.verdict


class Raises(Filter):
    name = "raises"

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        raise ValueError("broken")


def run(*filters: Filter) -> Verdict:
    return asyncio.run(Pipeline(filters).rcpt(PEER, "a@x.test", Address.parse("b@y.test")))


def test_only_phases_that_a_filter_overrides_are_active() -> None:
    assert Pipeline([Says(ACCEPT)]).phases == {"rcpt"}
    assert Pipeline().phases == frozenset()
    assert asyncio.run(Pipeline([Says(ACCEPT)]).connect(PEER)) == ACCEPT


def test_the_strongest_wins_and_headers_and_scores_add_up() -> None:
    reject = Verdict(Decision.REJECT, "bad", Reply(550, "5.7.1", "no"), score=3)
    verdict = run(
        Says(Verdict(headers=(("X-A", "1"),), score=1)),
        Says(reject),
        Says(Verdict(Decision.DEFER, "later", headers=(("X-B", "2"),))),
    )
    assert (verdict.decision, verdict.why, verdict.reply) == (Decision.REJECT, "bad", reject.reply)
    assert (verdict.headers, verdict.score) == ((("X-A", "1"), ("X-B", "2")), 4)


def _late() -> Filter:
    late = Says(ACCEPT, wait=5)
    late.timeout = 0.01
    return late


@pytest.mark.parametrize("broken", [Raises(), _late(), Says(cast(Verdict, "rubbish")), Says(cast(Verdict, None))])
@pytest.mark.parametrize(
    ("policy", "code"), [(Decision.DEFER, 451), (Decision.REJECT, 554), (Decision.QUARANTINE, 0), (Decision.ACCEPT, 0)]
)
def test_a_failing_filter_has_the_verdict_of_its_policy(broken: Filter, policy: Decision, code: int) -> None:
    broken.on_failure = policy
    verdict = run(broken, Says(ACCEPT))
    assert verdict.decision is policy
    assert (verdict.reply.code if verdict.reply else 0) == code


def test_filters_of_a_phase_run_side_by_side() -> None:
    async def timed() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await Pipeline([Says(ACCEPT, wait=0.1) for _ in range(20)]).rcpt(PEER, "", Address.parse("b@y.test"))
        return loop.time() - begun

    assert asyncio.run(timed()) < 1.0
