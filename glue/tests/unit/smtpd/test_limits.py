"""Who is counted together, and that all workers count together."""

from __future__ import annotations

import asyncio
import os
import resource

import pytest

from postane.config.model import Limits
from postane.smtpd.limits import Counts, Sessions, net_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_nets(one: str, other: str, same: bool) -> None:
    assert (net_of(one) == net_of(other)) is same


def test_workers_count_together() -> None:
    counts = Counts(2)
    limits = Limits(connections_per_peer=3, connections=5)
    here, there = Sessions(limits, counts, 0), Sessions(limits, counts, 1)
    assert [here.enter("a"), there.enter("a"), here.enter("a"), there.enter("a")] == [True, True, True, False]
    assert [there.enter("b"), there.enter("c"), here.enter("d")] == [True, True, False]
    here.leave("a")
    assert [there.enter("a"), here.enter("a")] == [True, False]
    assert (here.open, there.open) == (1, 4)


def test_a_worker_that_died_holds_no_places() -> None:
    counts = Counts(2)
    limits = Limits(connections_per_peer=1)
    pid = os.fork()
    if pid == 0:
        Sessions(limits, counts, 1).enter("a")
        os._exit(0)
    os.waitpid(pid, 0)
    here = Sessions(limits, counts, 0)
    assert not here.enter("a")  # what the child counted is seen
    Sessions(limits, counts, 1)  # its successor
    assert here.enter("a")


def test_many_nets_do_not_hinder_each_other() -> None:
    sessions = Sessions(Limits(connections_per_peer=10))
    sessions._places = 1_000_000  # this machine may let us open fewer files
    assert all(sessions.enter(f"192.0.{number // 256}.{number % 256}") for number in range(20_000))
    assert not sessions.enter("x")
    for number in range(20_000):
        sessions.leave(f"192.0.{number // 256}.{number % 256}")
    assert sessions.open == 0
    assert asyncio.run(sessions.drained(0.01))
    assert all(sessions.enter("x") for _ in range(10))
    assert not sessions.enter("x")


def test_files_are_left_for_what_must_be_written() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        sessions = Sessions(Limits())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [sessions.enter(str(number)) for number in range(301)] == [True] * 300 + [False]
