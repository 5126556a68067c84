"""Clocks that are set while mail waits: by injected clocks, never the machine's own."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from postane.bounce.notices import DsnNotices
from postane.config.model import Queue
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.ids import make_id
from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.ports import Resolved
from postane.core.reply import Reply
from postane.queue.clock import steady
from postane.queue.job import State
from postane.queue.runner import QueueRunner
from postane.queue.scheduler import Scheduler
from support.queue import Doors, Mail, MemoryStore, any_mailbox

START = 1_800_000_000.0
DAY = 86_400.0
LATER = Reply(451, "4.3.0", "Come back")


class Machine:
    """A time of day that can be set, and a count that cannot."""

    def __init__(self) -> None:
        self.ticks = 1000.0
        self.ahead = START - 1000.0

    def passes(self, seconds: float) -> None:
        self.ticks += seconds

    def is_set(self, by: float) -> None:
        self.ahead += by

    def day(self) -> float:
        return self.ticks + self.ahead


def test_the_time_of_day_once_and_then_the_steady_count() -> None:
    machine = Machine()
    now = steady(machine.day, lambda: machine.ticks)
    assert now() == START
    machine.passes(5)
    for jump in (-DAY, 10 * DAY, -3600):
        machine.is_set(jump)
        assert now() == START + 5
    assert steady(machine.day, lambda: machine.ticks)() == START + 5 + 9 * DAY - 3600


def test_by_itself_it_is_the_time_of_day() -> None:
    assert abs(steady()() - time.time()) < 1


async def _nobody(address: Address) -> Resolved:
    return Resolved(False)


async def _turns() -> None:
    for _ in range(60):
        await asyncio.sleep(0)


@pytest.mark.parametrize("jump", [-10 * DAY, -3600.0, 3600.0, 10 * DAY, 20_000 * DAY])
def test_a_clock_that_is_set_neither_hurries_nor_delays_nor_bounces(jump: float) -> None:
    machine = Machine()
    settings = Queue(retry_jitter=0.0)
    store, doors = MemoryStore(), Doors()
    doors.says["a@x.test"] = [LATER, LATER, Reply(250, "2.0.0", "ok")]

    async def main() -> None:
        now = steady(machine.day, lambda: machine.ticks)
        notices = DsnNotices("mail.demo.test", _nobody, any_mailbox, now)
        runner = QueueRunner(store, doors, notices, settings, now=now, scheduler=Scheduler(settings, Random(1)))
        running = asyncio.create_task(runner.run())
        store.accept(
            Mail(Envelope(make_id(START, bytes(10)), "s@far.test", (Recipient("a@x.test", "", "remote"),), START))
        )
        await _turns()
        assert len(doors.calls) == 1
        machine.is_set(jump)
        for seconds, calls in ((299, 1), (2, 2), (530, 2), (20, 3)):
            machine.passes(seconds)
            runner._wake.set()
            await _turns()
            assert len(doors.calls) == calls
        assert not store.disk, "delivered, and nobody was told of anything"
        assert doors.delivered
        runner.stop()
        await running
        await runner.drain(1)

    asyncio.run(main())


def test_a_time_that_was_written_down_under_a_clock_far_ahead_is_not_waited_for() -> None:
    """After a restart with the clock put right: the next attempt is at most the longest wait away."""
    settings = Queue()
    store, doors = MemoryStore(), Doors()
    to = Recipient("a@x.test", "", "remote")
    mail = Mail(Envelope(make_id(START, bytes(10)), "s@far.test", (to,), START))
    tried = Tried(Outcome(to.address, Fate.DELAYED, LATER), 1, START + 400 * DAY)
    mail.progress = Progress({to.address: tried})

    async def main() -> None:
        notices = DsnNotices("mail.demo.test", _nobody, any_mailbox, lambda: START)
        runner = QueueRunner(store, doors, notices, settings, now=lambda: START)
        running = asyncio.create_task(runner.run())
        store.accept(mail)
        await _turns()
        (job,) = runner.entries[mail.id].jobs
        assert job.state is State.WAITING
        assert START < job.when <= START + settings.retry_most * (1 + settings.retry_jitter)
        runner.stop()
        await running
        await runner.drain(1)

    asyncio.run(main())


def test_mail_that_came_under_a_clock_far_behind_is_tried_before_it_is_too_old() -> None:
    store, doors = MemoryStore(), Doors()

    async def main() -> None:
        notices = DsnNotices("mail.demo.test", _nobody, any_mailbox, lambda: START)
        runner = QueueRunner(store, doors, notices, Queue(), now=lambda: START)
        running = asyncio.create_task(runner.run())
        to = Recipient("a@x.test", "", "remote")
        store.accept(Mail(Envelope(make_id(0, bytes(10)), "s@far.test", (to,), 0.0)))
        await _turns()
        assert doors.delivered
        assert not store.disk
        runner.stop()
        await running
        await runner.drain(1)

    asyncio.run(main())
