"""The rings by themselves; the worlds of test_scheduler show what they are good for."""

from __future__ import annotations

from postane.core.envelope import Envelope, Recipient
from postane.queue.fair import Pool
from postane.queue.job import Entry, Job, State
from support.queue import Mail


def job(tenant: str, domain: str, destination: str) -> Job:
    recipient = Recipient(f"x@{destination}", kind="remote")
    entry = Entry(Mail(Envelope("1" * 26, "", (recipient,), 0.0)), 0.0, 1e9)
    return Job(entry, tenant, domain, destination, False, (recipient,))


def order(pool: Pool, count: int) -> list[Job]:
    """The next jobs, each ended at once."""
    out = []
    for _ in range(count):
        one = pool.pop(0.0)
        assert one is not None
        out.append(one)
        pool.release(one, 0.0)
    return out


def test_tenants_then_domains_then_destinations_take_turns() -> None:
    pool = Pool(100, 10)
    for _ in range(4):
        pool.push(job("big", "a.test", "x.test"))
        pool.push(job("big", "a.test", "y.test"))
        pool.push(job("big", "b.test", "x.test"))
    pool.push(job("small", "c.test", "x.test"))
    got = order(pool, 13)
    assert [one.tenant for one in got[:3]].count("small") == 1
    big = [one for one in got if one.tenant == "big"]
    assert [one.domain for one in big[:4]] == ["a.test", "b.test", "a.test", "b.test"]
    assert {one.destination for one in big if one.domain == "a.test"} == {"x.test", "y.test"}
    assert pool.pop(0.0) is None


def test_first_in_first_out_within_a_lane() -> None:
    pool = Pool(100, 10)
    jobs = [job("t", "a.test", "x.test") for _ in range(5)]
    for one in jobs:
        pool.push(one)
    pool.discard(jobs[2])
    assert order(pool, 4) == [jobs[0], jobs[1], jobs[3], jobs[4]]


def test_full_pool_gives_nothing() -> None:
    pool = Pool(1, 10)
    first, second = job("t", "a.test", "x.test"), job("u", "b.test", "y.test")
    pool.push(first)
    pool.push(second)
    got = pool.pop(0.0)
    assert got is first
    assert got.state is State.RUNNING
    assert pool.pop(0.0) is None
    pool.release(first, 0.0)
    assert pool.pop(0.0) is second


def test_nothing_is_kept_of_what_is_done() -> None:
    pool = Pool(100, 10)
    for n in range(100):
        pool.push(job(f"t{n}", f"a{n}.test", f"x{n}.test"))
    discarded = job("t", "a.test", "x.test")
    pool.push(discarded)
    pool.discard(discarded)
    order(pool, 100)
    assert pool.pop(0.0) is None
    assert not pool._tenants
    assert not pool._lines


def test_windows_are_forgotten_when_they_are_many() -> None:
    pool = Pool(100, 10)
    for n in range(25_000):
        pool.push(job("t", "a.test", f"x{n}.test"))
        order(pool, 1)
    assert len(pool.windows) <= 20_000
