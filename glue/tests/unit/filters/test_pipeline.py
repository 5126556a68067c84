"""The pipeline: strongest verdict wins, and a filter that fails never lets a mail pass by accident."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.address import Address
from postane.core.peer import Peer, Service
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Filter, Options, Tools
from postane.filters.pipeline import Call, Judge, Pipeline
from postane.observe.metrics import Metrics

PEER = Peer(Service.SMTP, "192.0.2.1", 4711)
TOOLS = Tools("mx.test", Dns(), lambda: 0.0)


class Says(Filter[Options]):
    name = "says"

    def __init__(self, verdict: Verdict, wait: float = 0.0, options: Options | None = None) -> None:
        super().__init__(options or Options(), TOOLS)
        self.verdict, self.wait = verdict, wait

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        await asyncio.sleep(self.wait)
        return self.verdict


class Raises(Says):
    name = "raises"

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        raise ValueError("broken")


def run(*filters: Filter[Options]) -> Verdict:
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
    assert verdict.by == "says"
    assert (verdict.headers, verdict.score) == ((("X-A", "1"), ("X-B", "2")), 4)


LATE = Options(timeout=0.01)


@pytest.mark.parametrize(
    "broken",
    [
        Raises(ACCEPT),
        Says(ACCEPT, wait=5, options=LATE),
        Says(cast(Verdict, "rubbish")),
        Says(cast(Verdict, None)),
        Says(Verdict(headers=(("X-A", "1\r\nBcc: all"),))),
        Says(Verdict(headers=(("X-A", "1\n\nbody"),))),
        Says(Verdict(headers=(("X A", "1"),))),
        Says(Verdict(headers=cast(tuple[tuple[str, str], ...], [("X-A", "1")]))),
        Says(Verdict(headers=cast(tuple[tuple[str, str], ...], (["X-A", "1"],)))),
        Says(Verdict(copies=("nobody",))),
        Says(Verdict(copies=("a@x.test",), copy_headers=(("X-A", "1\r\n\r\nbody"),))),
        Says(Verdict(wrap=cast(tuple[bytes, bytes], ("above", "behind")))),
        Says(Verdict(Decision.QUARANTINE, cast(str, None))),
        Says(Verdict(Decision.REJECT, "no", Reply(250, "2.0.0", "Fine"))),
        Says(Verdict(Decision.DEFER, "no", Reply(550, "5.0.0", "Never"))),
        Says(Verdict(Decision.REJECT, "no", Reply(550, "5.0.0", "No\r\n250 OK"))),
    ],
)
@pytest.mark.parametrize(
    ("policy", "decision", "code"),
    [("defer", Decision.DEFER, 451), ("reject", Decision.REJECT, 554), ("skip", Decision.ACCEPT, 0)],
)
def test_a_failing_filter_has_the_verdict_of_its_policy(
    broken: Says, policy: str, decision: Decision, code: int
) -> None:
    broken.options = msgspec.structs.replace(broken.options, on_failure=policy)
    verdict = run(broken, Says(ACCEPT))
    assert verdict.decision is decision
    assert (verdict.reply.code if verdict.reply else 0) == code


def test_a_failure_is_counted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    asyncio.run(Pipeline([Raises(ACCEPT)], Judge(metrics=metrics)).rcpt(PEER, "", Address.parse("b@y.test")))
    assert b'postane_filter_failures_total{filter="raises",phase="rcpt"} 1.0' in metrics.render()


def test_the_phase_has_a_bound_of_its_own() -> None:
    slow = Says(ACCEPT, wait=5, options=Options(timeout=60))
    verdict = asyncio.run(Pipeline([slow], Judge(0.01)).rcpt(PEER, "", Address.parse("b@y.test")))
    assert verdict.decision is Decision.DEFER
    assert "late after 0.01 s" in verdict.why


def test_each_filter_tells_its_verdict_and_its_time() -> None:
    pipeline = Pipeline([Says(ACCEPT, wait=0.02), Raises(ACCEPT)])
    calls: list[Call] = [lambda f: f.rcpt(PEER, "", Address.parse("b@y.test"))] * 2
    judged = asyncio.run(pipeline.judge.all(pipeline.of("rcpt"), "rcpt", calls))
    assert [(one.filter, one.phase, one.verdict.decision) for one in judged] == [
        ("says", "rcpt", Decision.ACCEPT),
        ("raises", "rcpt", Decision.DEFER),
    ]
    assert 0.02 <= judged[0].seconds < 2


def test_filters_of_a_phase_run_side_by_side() -> None:
    async def timed() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await Pipeline([Says(ACCEPT, wait=0.1) for _ in range(20)]).rcpt(PEER, "", Address.parse("b@y.test"))
        return loop.time() - begun

    assert asyncio.run(timed()) < 1.0
