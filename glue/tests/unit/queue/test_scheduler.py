"""The scheduler under a virtual clock: a world of events in which destinations answer, dawdle or are dead."""

from __future__ import annotations

import heapq
import os
import sys
import tracemalloc
from collections.abc import Callable
from random import Random

import pytest

from postane.config.model import Queue
from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Fate, Outcome
from postane.core.reply import Reply
from postane.queue.job import Entry, Job, State
from postane.queue.scheduler import Scheduler
from support.queue import Mail

FLOOD = int(os.environ.get("POSTANE_FLOOD", "30000"))  # a million takes minutes and shows the same

Answer = tuple[float, Fate, str]  # seconds that it takes, the fate, the status

FAST: Answer = (0.1, Fate.DELIVERED, "2.0.0")
DEAD: Answer = (30.0, Fate.DELAYED, "4.4.1")
TARPIT: Answer = (300.0, Fate.DELIVERED, "2.0.0")


class World:
    """Runs a Scheduler; `done` has (time, tenant, domain, destination) of each delivery."""

    def __init__(self, answers: Callable[[str, float], Answer], settings: Queue | None = None, seed: int = 1) -> None:
        self.scheduler = Scheduler(settings or Queue(), Random(seed))
        self.now = 0.0
        self.answers = answers
        self.done: list[tuple[float, str, str, str]] = []
        self.attempts = 0
        self.peak: dict[str, int] = {}
        self._running: list[tuple[float, int, Job, Outcome]] = []
        self._active: dict[str, int] = {}
        self._order = 0

    def mail(self, tenant: str, destination: str, *, domain: str = "", local: bool = False, fresh: bool = True) -> Job:
        domain = domain or f"{tenant}.test"
        recipient = Recipient(f"x@{destination}")
        self._order += 1
        envelope = Envelope(str(self._order), f"s@{domain}", (recipient,), self.now)
        entry = Entry(Mail(envelope), self.now, self.now + 1e6)
        job = Job(entry, tenant, domain, destination, local, (recipient,))
        self.scheduler.add(job, self.now, fresh=fresh)
        return job

    def run(self, until: float) -> None:
        while True:
            while (job := self.scheduler.next(self.now)) is not None:
                seconds, fate, status = self.answers(job.destination, self.now)
                self.attempts += 1
                outcome = Outcome("x", fate, Reply(250 if fate is Fate.DELIVERED else 451, status, ""))
                self._order += 1
                heapq.heappush(self._running, (self.now + seconds, self._order, job, outcome))
                active = self._active[job.destination] = self._active.get(job.destination, 0) + 1
                self.peak[job.destination] = max(active, self.peak.get(job.destination, 0))
            due = self.scheduler.next_time(self.now)
            times = [t for t in (due, self._running[0][0] if self._running else None) if t is not None]
            if not times or min(times) > until:
                self.now = until
                return
            self.now = max(self.now, min(times))
            while self._running and self._running[0][0] <= self.now:
                _, _, job, outcome = heapq.heappop(self._running)
                self._active[job.destination] -= 1
                when = self.scheduler.ended(job, [outcome], self.now)
                if outcome.final:
                    job.state = State.GONE
                    self.done.append((self.now, job.tenant, job.domain, job.destination))
                else:
                    self.scheduler.add(job, self.now, when)

    def finished(self, tenant: str) -> list[float]:
        return [at for at, who, _, _ in self.done if who == tenant]


def test_recipients_that_are_too_many_for_one_transaction_follow_at_once() -> None:
    scheduler = Scheduler(Queue(), Random(1))
    recipients = tuple(Recipient(f"{n}@x.test", kind="remote") for n in range(3))
    entry = Entry(Mail(Envelope("1" * 26, "a@b.test", recipients, 0.0)), 0.0, 1e6)
    job = Job(entry, "t", "b.test", "x.test", False, recipients)
    scheduler.add(job, 0.0)
    assert scheduler.next(0.0) is job
    ok, enough = Reply(250, "2.1.5", "ok"), Reply(452, "4.5.3", "Too many recipients")
    some = [
        Outcome.from_reply(r.address, reply, "mx") for r, reply in zip(recipients, (ok, enough, enough), strict=True)
    ]
    assert scheduler.ended(job, some, 5.0) == 5.0
    scheduler.add(job, 5.0, 5.0)
    assert scheduler.next(5.0) is job
    none = [Outcome.from_reply(r.address, enough, "mx") for r in recipients[1:]]
    assert scheduler.ended(job, none, 6.0) > 6.0 + 200, "a server that takes nobody is not asked again at once"


@pytest.mark.parametrize("floods", [1, 5, 20])
@pytest.mark.parametrize("bad", [DEAD, TARPIT])
def test_floods_leave_a_place_free_at_every_moment(floods: int, bad: Answer) -> None:
    """The stated bound: with up to 20 tenants that fill every place they get with servers that let us wait for five
    minutes, and one slow domain, a mail of anybody else to a server that answers starts within two seconds.
    """
    slow = (20.0, Fate.DELIVERED, "2.0.0")
    world = World(lambda name, now: FAST if name.startswith("good") else slow if name == "slow.test" else bad)
    for n in range(10_000):
        world.mail(f"flood{n % floods}", f"bad{n % 4000}.test")
    for _ in range(200):
        world.mail("dawdler", "slow.test")
    sent: dict[str, float] = {}
    for step in range(40):
        world.run(world.now + 7.3)
        sent[f"small{step}"] = world.now
        world.mail(f"small{step}", f"good{step % 5}.test")
        world.mail("dawdler", f"good{step % 5}.test")
    world.run(world.now + 10)
    waits = [world.finished(name)[0] - at for name, at in sent.items()]
    assert max(waits) < 2.0, f"{max(waits):.1f} s"
    assert sum(name.startswith("good") for _, who, _, name in world.done if who == "dawdler") == 40
    assert world.peak["slow.test"] <= Queue().concurrency_per_destination


def test_everything_is_delivered_once() -> None:
    world = World(lambda name, now: FAST)
    for n in range(1000):
        world.mail(f"t{n % 7}", f"d{n % 31}.test", local=n % 3 == 0)
    world.run(1000)
    assert len(world.done) == 1000
    assert world.attempts == 1000
    assert world.scheduler.running == 0


@pytest.mark.parametrize("bad", [DEAD, TARPIT])
def test_a_million_mails_of_one_tenant_never_delay_another(bad: Answer) -> None:
    """FLOOD mails to thousands of dead or dawdling servers, and one mail each of two others a minute later."""
    world = World(lambda name, now: FAST if name.startswith("good") else bad)
    for n in range(FLOOD):
        world.mail("flood", f"bad{n % 5000}.test")
    world.run(60)
    world.mail("small", "good1.test")
    world.mail("other", "good2.test")
    world.run(62)
    assert world.finished("small"), "the small tenant's mail went at once"
    assert world.finished("other")
    assert max(world.finished("small")) < 60.5


def test_one_tenants_flood_to_the_same_server_lets_others_in() -> None:
    world = World(lambda name, now: (1.0, Fate.DELIVERED, "2.0.0"))
    for _ in range(5000):
        world.mail("flood", "big.test")
    world.run(20)
    for _ in range(5):
        world.mail("small", "big.test")
    world.run(25)
    assert len(world.finished("small")) == 5


def test_a_dead_destination_costs_few_attempts_and_delays_nobody() -> None:
    world = World(lambda name, now: DEAD if name == "dead.test" else FAST)
    for n in range(10_000):
        world.mail("one", "dead.test" if n % 2 else f"good{n % 50}.test")
    world.run(120)
    assert len(world.done) == 5000, "the tenant's own mail to others went past its dead destination"
    world.run(24 * 3600)
    assert world.attempts < 5000 + 40, "5,000 messages cost a trial now and then, not an attempt each"
    assert world.peak["dead.test"] <= 2


def test_a_destination_that_comes_back_gets_all_that_waited() -> None:
    world = World(lambda name, now: DEAD if now < 3000 else FAST)
    for _ in range(500):
        world.mail("one", "back.test")
    world.run(2999)
    assert not world.done
    world.run(3000 + 4 * 3600)
    assert len(world.done) == 500
    first, last = world.done[0][0], world.done[-1][0]
    assert last - first < 60, "one trial that went well frees all"


def test_new_mail_brings_the_trial_forward() -> None:
    world = World(lambda name, now: DEAD if now < 10_000 else FAST)
    world.mail("one", "back.test")
    world.run(10_001)
    waits = world.scheduler.closed(world.now)["back.test"].closed_until - world.now
    assert waits > 600
    world.mail("one", "back.test")
    world.run(world.now + 400)
    assert len(world.done) == 2


def test_concurrency_grows_with_success_and_never_beyond_its_most() -> None:
    world = World(lambda name, now: FAST, Queue(concurrency_per_destination=6))
    for _ in range(200):
        world.mail("one", "good.test")
    world.run(0.05)
    assert world.peak["good.test"] == 2
    world.run(100)
    assert world.peak["good.test"] == 6


def test_a_busy_server_gets_less_at_once() -> None:
    busy: Answer = (0.5, Fate.DELAYED, "4.3.2")
    world = World(lambda name, now: FAST if now < 2 else busy, Queue(concurrency_per_destination=8))
    for _ in range(400):
        world.mail("one", "good.test")
    world.run(2.0)
    assert world.peak["good.test"] == 8
    world.run(4.0)
    world.peak.clear()
    world.run(300.0)
    assert world.peak["good.test"] == 1


def test_a_server_that_limits_the_rate_has_its_pauses() -> None:
    """For an hour it says 421 to everybody: a thousand messages do not ask it a thousand times."""
    world = World(lambda name, now: (0.2, Fate.DELAYED, "4.7.28") if now < 3600 else FAST)
    for _ in range(1000):
        world.mail("one", "strict.test")
    world.run(3600)
    assert not world.done
    assert world.attempts < 20
    world.mail("one", "other.test")
    world.run(3600 + 1800 * 1.1 + 60)
    assert len(world.done) == 1001


def test_local_mail_never_waits_for_remote_slots() -> None:
    world = World(lambda name, now: TARPIT if name != "local" else FAST, Queue(concurrency=10))
    for n in range(1000):
        world.mail(f"t{n}", f"slow{n}.test")
    world.run(1)
    world.mail("t1", "local", local=True)
    world.run(1.2)
    assert [d for _, _, _, d in world.done] == ["local"]


def test_turns_go_round_between_a_tenants_domains() -> None:
    world = World(lambda name, now: (1.0, Fate.DELIVERED, "2.0.0"), Queue(concurrency_local=1))
    for _ in range(50):
        world.mail("one", "local", domain="loud.test", local=True)
    for _ in range(3):
        world.mail("one", "local", domain="quiet.test", local=True)
    world.run(6.5)
    assert [domain for _, _, domain, _ in world.done].count("quiet.test") == 3


def test_message_of_its_own_time_waits_for_it() -> None:
    world = World(lambda name, now: FAST)
    job = world.mail("one", "good.test")
    world.scheduler.remove(job, State.HELD)
    world.scheduler.add(job, 0, 500)
    world.run(499)
    assert not world.done
    assert world.scheduler.next_time(499) == 500
    world.run(501)
    assert [at for at, *_ in world.done] == [500.1]


@pytest.mark.parametrize("when", [0, 500])
def test_removed_job_does_not_run(when: float) -> None:
    world = World(lambda name, now: FAST)
    jobs = [world.mail("one", "good.test") for _ in range(3)]
    for job in jobs:
        world.scheduler.remove(job, State.HELD)
    for job in jobs:
        world.scheduler.add(job, 0, when)
    world.scheduler.remove(jobs[1], State.GONE)
    world.run(1000)
    assert len(world.done) == 2
    assert jobs[1].state is State.GONE


def test_hasten_runs_a_waiting_job_and_reopens_its_destination() -> None:
    world = World(lambda name, now: DEAD if now < 40 else FAST)
    job = world.mail("one", "dead.test")
    world.run(50)
    assert job.state is State.READY, "it waits in its lane for the destination"
    world.scheduler.hasten(job, world.now)
    world.run(51)
    assert len(world.done) == 1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_whatever_happens(seed: int) -> None:
    """Destinations that change their minds at random, jobs held and released: at the end all is delivered."""
    random = Random(seed)
    fates = [FAST, DEAD, (0.2, Fate.DELAYED, "4.3.2"), (0.2, Fate.DELAYED, "4.7.1"), (5.0, Fate.DELIVERED, "2.0.0")]

    def answers(name: str, now: float) -> Answer:
        return FAST if now > 20_000 else random.choice(fates)

    settings = Queue(concurrency=5, concurrency_per_destination=3, concurrency_local=2)
    world = World(answers, settings, seed)
    jobs = []
    for step in range(300):
        jobs.append(world.mail(f"t{random.randrange(4)}", f"d{random.randrange(9)}.test", local=random.random() < 0.3))
        if step % 10 == 0:
            world.run(world.now + random.uniform(0, 100))
        held = random.choice(jobs)
        if held.state in (State.READY, State.WAITING):
            world.scheduler.remove(held, State.HELD)
    for job in jobs:
        if job.state is State.HELD:
            world.scheduler.add(job, world.now)
    world.run(200_000)
    assert len(world.done) == 300
    assert world.scheduler.running == 0
    assert all(job.state is State.GONE for job in jobs)


def test_a_hundred_thousand_are_light() -> None:
    tracemalloc.start()
    world = World(lambda name, now: FAST, Queue(concurrency=500))
    jobs = [world.mail(f"t{n % 1000}", f"d{n}.test") for n in range(2000)]
    base, _ = tracemalloc.get_traced_memory()
    size = base / len(jobs)
    tracemalloc.stop()
    assert size < 3000, f"{size:.0f} octets a message to a destination of its own"


@pytest.mark.parametrize("kind", ["delivered", "dead", "greylisted"])
def test_each_message_costs_the_same_number_of_steps_however_many_wait(kind: str) -> None:
    """Steps are counted, not timed: every call of a function, Python's or C's, that a message causes."""

    def answers(name: str, now: float) -> Answer:
        if kind == "dead":
            return DEAD if now < 2000 else FAST
        if kind == "greylisted":
            return FAST if now > 300 else (0.1, Fate.DELAYED, "4.7.1")
        return FAST

    def steps(count: int) -> float:
        calls = 0

        def note(*_: object) -> None:
            nonlocal calls
            calls += 1

        world = World(answers, Queue(concurrency=500, concurrency_per_destination=500))
        sys.setprofile(note)
        for n in range(count):
            world.mail(f"t{n % 20}", f"d{n % 50}.test")
        world.run(1e9)
        sys.setprofile(None)
        assert len(world.done) == count
        return calls / count

    few, many = steps(1000), steps(10_000)
    print(f"{kind}: {few:.0f} steps a message among 1,000, {many:.0f} among 10,000")
    assert many < few * 1.25
