"""A loop that stands still is seen and told; a filter that holds it is interrupted, anything else is not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postane.config.model import Dns
from postane.core.peer import Peer, Service
from postane.core.verdict import Decision, Verdict
from postane.daemon.watchdog import Watchdog
from postane.filters.base import Filter, Options, Tools
from postane.filters.pipeline import Pipeline
from postane.observe.metrics import Metrics

PEER = Peer(Service.SMTP, "192.0.2.1", 25)


class Spins(Filter[Options]):
    """As a filter of a package: its module is not ours."""

    name = "spins"

    async def connect(self, peer: Peer) -> Verdict:
        while True:
            pass


class Sleeps(Spins):
    """As one of ours, which is asked without a task of its own."""

    name = "sleeps"
    __module__ = "postane.filters.sleeps"

    async def connect(self, peer: Peer) -> Verdict:
        time.sleep(20)  # noqa: ASYNC251 - that is the fault
        return Verdict()


@pytest.mark.parametrize("kind", [Spins, Sleeps])
def test_a_filter_that_holds_the_loop_is_interrupted(kind: type[Spins]) -> None:
    metrics = Metrics()

    async def main() -> Verdict:
        watching = asyncio.create_task(Watchdog(metrics, 0.3, 0.6).run())
        await asyncio.sleep(0)
        verdict = await Pipeline([kind(Options(), Tools("mx.test", Dns(), time.time))]).connect(PEER)
        watching.cancel()
        return verdict

    begun = time.monotonic()
    with capture_logs() as lines:
        verdict = asyncio.run(main())
    assert time.monotonic() - begun < 10
    assert verdict.decision is Decision.DEFER
    assert "it let nobody else run" in verdict.why
    (told,) = [line for line in lines if line["event"] == "loop_blocked"]
    assert told["at"][0].startswith(f"{Path(__file__).parent.name}/test_watchdog.py:")
    assert "postane_loop_blocked_total 1.0" in metrics.render().decode()


def test_what_is_no_filter_is_told_and_left_alone() -> None:
    metrics = Metrics()

    async def main() -> None:
        watching = asyncio.create_task(Watchdog(metrics, 0.3, 0.6).run())
        await asyncio.sleep(0)
        time.sleep(2.2)  # noqa: ASYNC251
        await asyncio.sleep(0.6)
        watching.cancel()

    with capture_logs() as lines:
        asyncio.run(main())
    assert [line["event"] for line in lines] == ["loop_blocked"]
    text = metrics.render().decode()
    assert "postane_loop_blocked_total 1.0" in text
    longest = float(text.partition("\npostane_loop_longest_block_seconds ")[2].split()[0])
    assert 1.5 < longest < 10
    assert "postane_loop_longest_block_seconds 0.0" in metrics.render().decode()
