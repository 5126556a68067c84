from __future__ import annotations

import asyncio

import structlog

from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Outcome
from postane.core.reply import Reply
from postane.observe.metrics import Metrics
from postane.queue.ends import Ends
from postane.queue.job import Entry, Job
from support.queue import Mail


def job(*to: str, doubtful: bool = False) -> Job:
    recipients = tuple(Recipient(address, kind="remote") for address in to)
    entry = Entry(Mail(Envelope("1" * 26, "a@b.test", recipients, 0.0), doubtful=doubtful), 0.0, 1e9)
    return Job(entry, "t", "b.test", "x.test", False, recipients, attempts=2)


def outcome(to: str, code: int) -> Outcome:
    return Outcome.from_reply(to, Reply(code, f"{code // 100}.0.0", "said"), "mx.x.test")


def test_one_line_a_recipient_at_the_end_of_the_turn() -> None:
    async def main() -> None:
        metrics = Metrics()
        ends = Ends(metrics)
        with structlog.testing.capture_logs() as lines:
            ends.tell(job("a@x.test"), [outcome("a@x.test", 250)], seconds=0.5, age=7.0, when=0.0)
            ends.tell(job("b@x.test"), [outcome("b@x.test", 451)], seconds=0.5, age=7.0, when=99.4)
            assert lines == []
            await asyncio.sleep(0)
        assert [(line["event"], line["to"]) for line in lines] == [("delivered", "a@x.test"), ("delayed", "b@x.test")]
        assert lines[1]["next_attempt"] == 99
        assert "next_attempt" not in lines[0]
        assert lines[0]["reply"] == "250 2.0.0 said"
        assert b'postane_deliveries_total{door="remote",fate="delivered"} 1.0' in metrics.render()

    asyncio.run(main())


def test_what_is_delivered_again_is_counted() -> None:
    async def main() -> None:
        metrics = Metrics()
        ends = Ends(metrics)
        both = [outcome("a@x.test", 250), outcome("b@x.test", 550)]
        ends.tell(job("a@x.test", "b@x.test", doubtful=True), both, seconds=0.0, age=0.0, when=0.0)
        ends.count_doubts(1)
        ends.write()
        text = metrics.render()
        assert b'postane_repeated_deliveries_total{door="remote"} 1.0' in text
        assert b"postane_in_flight_at_start 1.0" in text

    asyncio.run(main())
