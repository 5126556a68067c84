"""The queue's loop against a store in memory whose crash can be seen, and a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import structlog

from postane.bounce.notices import DsnNotices
from postane.config.model import Queue
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import CorruptSpoolError, TemporaryError
from postane.core.ids import make_id
from postane.core.outcome import Fate
from postane.core.ports import Resolved
from postane.core.reply import Reply
from postane.queue.job import State
from postane.queue.runner import QueueRunner
from postane.queue.scheduler import Scheduler
from support.queue import Doors, Mail, MemoryStore, any_mailbox

START = 1_800_000_000.0
NO = Reply(550, "5.1.1", "No such user")
LATER = Reply(451, "4.3.0", "Come back")
NOBODY = Reply(451, "4.4.1", "peer.test: Connection refused")
SETTINGS = Queue(retry_jitter=0.0)


@dataclass
class Bench:
    """One queue process; `restart` kills it and starts another on what was synced."""

    store: MemoryStore
    doors: Doors
    now: float = START
    known: dict[str, Resolved] = field(default_factory=dict)
    directory_down: bool = False
    runner: QueueRunner = field(init=False)
    task: asyncio.Task[None] = field(init=False)
    count: int = 0

    def start(self) -> None:
        notices = DsnNotices("mail.demo.test", self.resolve, any_mailbox, lambda: self.now)
        scheduler = Scheduler(SETTINGS, Random(1))
        self.runner = QueueRunner(self.store, self.doors, notices, SETTINGS, now=lambda: self.now, scheduler=scheduler)
        self.task = asyncio.create_task(self.runner.run())

    async def resolve(self, address: Address) -> Resolved:
        if self.directory_down:
            raise TemporaryError("the directory is away")
        return self.known.get(address.key, Resolved(False))

    def mail(self, *to: str | Recipient, sender: str = "ayse@far.test", tenant: str = "t") -> Mail:
        self.count += 1
        recipients = tuple(Recipient(r, r, "remote") if isinstance(r, str) else r for r in to)
        envelope = Envelope(
            make_id(self.now, self.count.to_bytes(10, "big")), sender, recipients, self.now, tenant=tenant
        )
        return self.store.accept(Mail(envelope))

    async def settle(self, forward: float = 0.0) -> None:
        """Turns the clock and lets everything happen that can."""
        self.now += forward
        self.runner._wake.set()
        for _ in range(60):
            await asyncio.sleep(0)

    async def restart(self) -> None:
        """As kill -9: nothing is drained, only what was synced is known afterwards."""
        self.task.cancel()
        await self.runner._attempts.close()
        await self.runner._helpers.close()
        self.store = self.store.reborn()
        self.start()
        await self.settle()

    def bounces(self) -> list[Mail]:
        return [m for m in self.store.disk.values() if m.envelope.sender == ""]


def bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        one = Bench(MemoryStore(), Doors())
        one.start()
        await one.settle()
        try:
            await test(one)
        finally:
            one.runner.stop()
            await one.runner.drain(1)
            one.task.cancel()

    asyncio.run(main())


def test_delivered_message_is_finished() -> None:
    async def test(b: Bench) -> None:
        b.mail("a@x.test", "b@x.test", "c@y.test")
        await b.settle()
        assert sorted(to for _, to in b.doors.delivered) == ["a@x.test", "b@x.test", "c@y.test"]
        assert sorted(len(to) for _, to in b.doors.calls) == [1, 2], "one transaction for each destination"
        assert not b.store.disk
        assert not b.runner.entries

    bench(test)


def test_outcome_is_durable_before_the_retry_is_scheduled() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = LATER
        mail = b.mail("a@x.test")
        await b.settle()
        job = b.runner.entries[mail.envelope.id].jobs[0]
        assert job.state is State.WAITING
        tried = b.store.disk[mail.envelope.id].progress.recipients["a@x.test"]
        assert tried.attempts == 1
        assert tried.next_attempt == START + 300
        assert tried.outcome.reply.text == "Come back"

    bench(test)


def test_retry_comes_when_due_also_after_a_crash() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = [LATER, LATER, Reply(250, "", "ok")]
        b.mail("a@x.test", "b@x.test")
        await b.settle(1)
        await b.restart()
        assert len(b.doors.calls) == 1, "it is not due yet"
        await b.settle(300)
        await b.settle(600)
        assert [to for _, to in b.doors.calls] == [["a@x.test", "b@x.test"], ["a@x.test"], ["a@x.test"]]
        assert sorted(b.doors.delivered) == sorted(set(b.doors.delivered)), "nobody got it twice"
        assert not b.store.disk

    bench(test)


def test_crash_in_flight_repeats_only_what_was_in_flight() -> None:
    async def test(b: Bench) -> None:
        b.mail("a@x.test")
        await b.settle()
        b.doors.gate = asyncio.Event()
        b.mail("b@x.test")
        await b.settle()
        b.doors.gate = None
        await b.restart()
        assert [to for _, to in b.doors.delivered] == ["a@x.test", "b@x.test"]

    bench(test)


def test_failure_bounces_once_with_the_peers_words() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = NO
        b.doors.says["b@y.test"] = NO
        b.mail("a@x.test", "b@y.test", "c@x.test")
        b.doors.gate = asyncio.Event()
        await b.settle()
        b.doors.says["ayse@far.test"] = LATER  # the bounces stay where they can be looked at
        b.doors.gate.set()
        await b.settle()
        texts = [bounce.text.decode() for bounce in b.bounces()]
        assert all(bounce.envelope.recipients[0].address == "ayse@far.test" for bounce in b.bounces())
        assert sum(text.count("Final-Recipient: rfc822; a@x.test") for text in texts) == 1
        assert sum(text.count("Final-Recipient: rfc822; b@y.test") for text in texts) == 1
        assert "550 5.1.1 No such user" in texts[0]
        assert len(b.store.disk) == len(texts), "the message itself is done"

    bench(test)


def test_bounce_is_put_before_the_message_is_finished() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = NO
        mail = b.mail("a@x.test")
        await b.settle()
        order = [event for event in b.store.events if event[0] == "put" or event == ("finish", mail.envelope.id)]
        assert [what for what, _ in order] == ["put", "finish"]

    bench(test)


def test_bounce_that_cannot_be_kept_is_owed_through_a_crash() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = NO
        b.directory_down = True
        b.mail("a@x.test")
        await b.settle()
        assert not b.bounces()
        assert len(b.store.disk) == 1
        await b.restart()
        assert len(b.doors.calls) == 1, "what failed is not tried again"
        b.directory_down = False
        b.doors.says["ayse@far.test"] = LATER
        await b.settle(61)
        assert len(b.bounces()) == 1
        assert len(b.store.disk) == 1

    bench(test)


def test_no_bounce_of_a_bounce_and_none_where_never_was_asked() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = NO
        b.mail("a@x.test", sender="")
        b.mail(Recipient("a@x.test", "a@x.test", "remote", (Notify.NEVER,)))
        await b.settle()
        assert not b.store.disk
        assert not any(what == "put" for what, _ in b.store.events)

    bench(test)


def test_bounce_to_a_sender_that_is_gone_is_dropped() -> None:
    async def test(b: Bench) -> None:
        b.known["ayse@far.test"] = Resolved(True)
        b.doors.says["a@x.test"] = NO
        b.mail("a@x.test")
        await b.settle()
        assert not b.store.disk

    bench(test)


def test_delay_is_told_once_and_the_end_with_the_last_words() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = LATER
        b.mail("a@x.test")
        for _ in range(10):
            await b.settle(3600)
        told = [text.decode() for _, text in sorted((m.envelope.id, m.text) for m in b.bounces())]
        delivered = [ids for ids, to in b.doors.delivered if to == "ayse@far.test"]
        assert len(delivered) == 1, "one warning went out"
        await b.restart()
        for _ in range(30):
            await b.settle(5 * 3600)
        assert len([1 for _, to in b.doors.delivered if to == "ayse@far.test"]) == 2, "the warning and the bounce"
        assert not b.store.disk
        assert not told

    bench(test)


def test_expired_notice_has_status_and_words() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = NOBODY
        b.doors.says["ayse@far.test"] = LATER
        b.mail("a@x.test")
        await b.settle()
        await b.settle(5 * 86400 + 1)
        (bounce,) = b.bounces()
        text = bounce.text.decode()
        assert "Action: failed" in text
        assert "Status: 4.4.7" in text
        assert "Connection refused" in text
        assert "given up" in text

    bench(test)


def test_success_is_told_where_asked() -> None:
    async def test(b: Bench) -> None:
        b.mail(Recipient("a@demo.test", "a@demo.test", "local", (Notify.SUCCESS,)))
        b.mail(Recipient("a@x.test", "a@x.test", "remote", (Notify.SUCCESS,)))
        b.doors.says["ayse@far.test"] = LATER
        await b.settle()
        (notice,) = b.bounces()
        assert b"Action: delivered" in notice.text, "of local delivery; the remote server tells by itself"

    bench(test)


def test_damaged_message_is_held_not_lost() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = CorruptSpoolError("bad sum")
        mail = b.mail("a@x.test")
        await b.settle()
        await b.settle(90000)
        entry = b.runner.entries[mail.envelope.id]
        assert entry.held
        assert entry.jobs[0].state is State.HELD
        assert len(b.doors.calls) == 1

    bench(test)


@pytest.mark.parametrize("error", [TemporaryError("cannot read"), RuntimeError("bug")])
def test_broken_transport_delays(error: Exception) -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = error
        mail = b.mail("a@x.test")
        b.mail("b@y.test")
        await b.settle()
        assert ("b@y.test") in [to for _, to in b.doors.delivered]
        assert b.store.disk[mail.envelope.id].progress.recipients["a@x.test"].outcome.fate is Fate.DELAYED

    bench(test)


def test_full_disk_stops_nothing_and_is_caught_up() -> None:
    async def test(b: Bench) -> None:
        b.store.broken = True
        b.doors.says["a@x.test"] = [LATER, Reply(250, "", "ok")]
        b.mail("a@x.test")
        b.mail("b@x.test")
        await b.settle()
        await b.settle(301)
        assert [to for _, to in b.doors.delivered] == ["b@x.test", "a@x.test"]
        assert len(b.store.disk) == 2
        b.store.broken = False
        b.runner._dirty.set()
        await b.runner._store.sync()
        assert not b.store.disk

    bench(test)


def test_hold_release_retry_drop() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = LATER
        mail = b.mail("a@x.test")
        await b.settle()
        entry = b.runner.entries[mail.envelope.id]
        b.runner.hold(entry)
        await b.settle(90_000)
        await b.restart()
        assert len(b.doors.calls) == 1, "held through its time and a crash"
        entry = b.runner.entries[mail.envelope.id]
        b.runner.release(entry)
        await b.settle()
        assert len(b.doors.calls) == 2
        b.runner.retry(entry)
        await b.settle()
        assert len(b.doors.calls) == 3
        b.runner.drop(entry)
        await b.settle()
        assert not b.store.disk

    bench(test)


def test_dropped_while_it_runs_is_not_tried_again() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = LATER
        b.doors.gate = asyncio.Event()
        mail = b.mail("a@x.test")
        await b.settle()
        b.runner.drop(b.runner.entries[mail.envelope.id])
        b.doors.gate.set()
        await b.settle()
        assert not b.store.disk

    bench(test)


def test_stop_lets_what_runs_end_and_starts_nothing() -> None:
    async def test(b: Bench) -> None:
        b.doors.gate = asyncio.Event()
        b.mail("a@x.test")
        await b.settle()
        b.runner.stop()
        b.mail("b@x.test")
        draining = asyncio.create_task(b.runner.drain(5))
        await b.settle()
        b.doors.gate.set()
        assert await draining
        assert [to for _, to in b.doors.delivered] == ["a@x.test"]
        assert len(b.store.disk) == 1

    bench(test)


def test_notice_that_breaks_is_owed_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(b: Bench) -> None:
        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("bug")

        b.doors.says["a@x.test"] = NO
        b.doors.says["ayse@far.test"] = LATER
        with monkeypatch.context() as patch:
            patch.setattr(DsnNotices, "make", broken)
            b.mail("a@x.test")
            await b.settle()
            assert len(b.store.disk) == 1
        await b.settle(61)
        assert len(b.bounces()) == len(b.store.disk) == 1

    bench(test)


def test_spool_that_cannot_be_watched_ends_the_queue() -> None:
    async def main() -> None:
        b = Bench(MemoryStore(), Doors())

        async def wait(seconds: float) -> None:
            raise OSError("no such device")

        b.store.wait = wait  # type: ignore[method-assign]
        b.start()
        with pytest.raises(OSError, match="no such device"):
            await asyncio.wait_for(b.task, 2)
        await b.runner.drain(1)

    asyncio.run(main())


def test_finished_messages_leave_no_deadlines_behind() -> None:
    async def test(b: Bench) -> None:
        for _ in range(50):
            for n in range(60):
                b.mail(f"a{n}@x{n}.test")
            await b.settle()
        assert len(b.doors.delivered) == 3000
        assert len(b.runner._deadlines) < 1100

    bench(test)


def test_what_was_in_flight_at_a_kill_is_counted_at_the_next_start() -> None:
    async def test(b: Bench) -> None:
        b.doors.says["a@x.test"] = LATER
        b.mail("a@x.test")
        await b.settle()
        b.doors.gate = asyncio.Event()
        flying = [b.mail("b@x.test"), b.mail("c@y.test", "d@z.test")]
        await b.settle()
        b.doors.gate = None
        with structlog.testing.capture_logs() as events:
            await b.restart()
        assert [mail.doubtful for mail in flying] == [True, True]
        (said,) = [event for event in events if "in flight" in event["event"]]
        assert said["messages"] == 2
        assert b"postane_in_flight_at_start 2.0" in b.runner._metrics.render()
        assert b'postane_repeated_deliveries_total{door="remote"} 3.0' in b.runner._metrics.render()
        with structlog.testing.capture_logs() as events:
            await b.restart()
        assert not [event for event in events if "in flight" in event["event"]], "all ended"

    bench(test)
