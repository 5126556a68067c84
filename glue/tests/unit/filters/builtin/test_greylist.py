"""The filter: who is doubtful, who waits, who passes, what is learned, and what two workers know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Config, Dns
from postane.core.address import Address
from postane.core.errors import TemporaryError
from postane.core.peer import Peer, Service
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.greylist import Greylist, Options
from postane.filters.store.make import make_store
from postane.observe.metrics import Metrics
from support.zone import Zone

GOOD = Peer(Service.SMTP, "192.0.2.3", 4711, "mx.good.test")
POOR = Peer(Service.SMTP, "198.51.100.7", 4711, "mx.poor.test")  # no name
TO = Address.parse("ayse@demo.test")
ALWAYS = Options(when="always")
ZONE = """
3.2.0.192.in-addr.arpa PTR mx.good.test
mx.good.test A 192.0.2.3
4.2.0.192.in-addr.arpa PTR mx.good.test
5.2.0.192.in-addr.arpa PTR host-192-0-2-5.isp.test
host-192-0-2-5.isp.test A 192.0.2.5
6.2.0.192.in-addr.arpa FAIL
good.test TXT v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.0/22 -all
soft.test TXT v=spf1 ~all
hard.test TXT v=spf1 -all
all.test TXT v=spf1 +all
zero.test TXT v=spf1 ip4:0.0.0.0/0 -all
down.test FAIL
"""


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """One store, one DNS, one clock; `greylist` makes another worker."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.zone = Zone(ZONE)
        self.metrics = Metrics()
        self.stores: list[Any] = []

    def greylist(self, options: Options = ALWAYS) -> Greylist:
        store = make_store(Config(host="mx.test", state=str(self.folder)), now=self.clock)
        self.stores.append(store())
        tools = Tools("mx.test", Dns(), self.clock, lambda: self.zone.ask, self.metrics, self.folder, store)
        return Greylist(options, tools)


def run(folder: Path, work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        world = World(folder)
        try:
            await work(world)
        finally:
            for store in world.stores:
                await store.close()

    asyncio.run(all_of_it())


def said(verdict: Verdict) -> str:
    return str(verdict.reply or "")


@pytest.mark.parametrize(
    ("peer", "sender", "why"),
    [
        (GOOD, "a@good.test", ""),
        (GOOD, "", ""),
        (GOOD, "a@down.test", ""),
        (replace(GOOD, score=2.0), "a@good.test", "score 2"),
        (replace(GOOD, score=1.9), "a@good.test", ""),
        (replace(GOOD, helo="localhost"), "a@good.test", "HELO 'localhost'"),
        (replace(GOOD, helo="[192.0.2.3]"), "a@good.test", ""),
        (replace(GOOD, helo="[IPv6:2001:db8::1]"), "a@good.test", ""),
        (POOR, "a@good.test", "198.51.100.7 has no name"),
        (replace(GOOD, ip="192.0.2.4"), "a@good.test", "mx.good.test does not lead back to 192.0.2.4"),
        (replace(GOOD, ip="192.0.2.5"), "a@good.test", "generic name host-192-0-2-5.isp.test"),
        (replace(GOOD, ip="192.0.2.6"), "a@good.test", ""),  # the DNS is away: nobody is doubtful for that
        (GOOD, "a@soft.test", "SPF softfail of soft.test"),
        (GOOD, "a@hard.test", "SPF fail of hard.test"),
    ],
)
def test_who_is_doubtful(tmp_path: Path, peer: Peer, sender: str, why: str) -> None:
    async def work(world: World) -> None:
        verdict = await world.greylist(Options()).rcpt(peer, sender, TO)
        if not why:
            assert verdict is ACCEPT
            return
        assert (verdict.decision, verdict.opinion) == (Decision.DEFER, True)
        assert said(verdict) == "451 4.7.1 Greylisted: you are new here; try again in 60 seconds"
        assert verdict.why.startswith(f"greylist: {why}; ")

    run(tmp_path, work)


@pytest.mark.parametrize("off", ["helo", "name", "generic", "spf"])
def test_each_doubt_can_be_left_out(tmp_path: Path, off: str) -> None:
    doubtful = {
        "helo": (replace(GOOD, helo="x"), "a@good.test"),
        "name": (POOR, "a@good.test"),
        "generic": (replace(GOOD, ip="192.0.2.5"), "a@good.test"),
        "spf": (GOOD, "a@hard.test"),
    }

    async def work(world: World) -> None:
        greylist = world.greylist(msgspec.convert({off: False}, Options))
        for name, (peer, sender) in doubtful.items():
            verdict = await greylist.rcpt(peer, sender, TO)
            assert (verdict is ACCEPT) is (name == off), name

    run(tmp_path, work)


def test_who_comes_again_passes_and_is_remembered_by_all_workers(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        one, other = world.greylist(), world.greylist()
        assert said(await one.rcpt(POOR, "a@x.test", TO)).endswith("in 60 seconds")
        world.clock.now += 20.5
        assert said(await other.rcpt(POOR, "a@x.test", TO)).endswith("in 40 seconds")
        world.clock.now += 38.5
        assert said(await one.rcpt(POOR, "a@x.test", TO)).endswith("in 1 second")
        world.clock.now += 1
        # Another machine of the sender, another tag, another recipient of the same domain.
        again = replace(POOR, ip="198.51.100.9")
        assert await other.rcpt(again, "A+tag@X.test", Address.parse("mehmet@demo.test")) is ACCEPT
        assert await one.rcpt(POOR, "a@x.test", TO) is ACCEPT
        assert said(await one.rcpt(POOR, "b@x.test", TO))
        assert said(await one.rcpt(POOR, "a@y.test", TO))
        assert said(await one.rcpt(POOR, "a@x.test", Address.parse("a@other.test")))
        assert said(await one.rcpt(replace(POOR, ip="198.51.101.7"), "a@x.test", TO))

    run(tmp_path, work)


def test_it_survives_a_restart(tmp_path: Path) -> None:
    async def first(world: World) -> None:
        assert said(await world.greylist().rcpt(POOR, "a@x.test", TO))

    async def second(world: World) -> None:
        world.clock.now += 61
        assert await world.greylist().rcpt(POOR, "a@x.test", TO) is ACCEPT

    run(tmp_path, first)
    run(tmp_path, second)


def test_who_comes_too_late_begins_anew_and_who_is_silent_is_forgotten(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist(Options(when="always", window=3600, lifetime=86_400 * 10))
        assert said(await greylist.rcpt(POOR, "a@x.test", TO))
        world.clock.now += 3601
        assert said(await greylist.rcpt(POOR, "a@x.test", TO)).endswith("in 60 seconds")
        world.clock.now += 60
        assert await greylist.rcpt(POOR, "a@x.test", TO) is ACCEPT
        for _ in range(3):  # each mail makes the memory last longer
            world.clock.now += 86_400 * 9
            assert await greylist.rcpt(POOR, "a@x.test", TO) is ACCEPT
        world.clock.now += 86_400 * 10 + 1
        assert said(await greylist.rcpt(POOR, "a@x.test", TO))

    run(tmp_path, work)


def test_who_came_again_thrice_waits_no_more(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist()
        for name in "abc":
            assert said(await greylist.rcpt(POOR, f"{name}@x.test", TO))
            world.clock.now += 60
            assert await greylist.rcpt(POOR, f"{name}@x.test", TO) is ACCEPT
            assert await greylist.rcpt(POOR, f"{name}@x.test", TO) is ACCEPT  # no second time
        assert await greylist.rcpt(POOR, "new@x.test", Address.parse("a@other.test")) is ACCEPT
        assert said(await greylist.rcpt(POOR, "new@y.test", TO))
        assert said(await world.greylist(Options(when="always", learn=0)).rcpt(POOR, "other@x.test", TO))
        for _ in range(2):
            world.clock.now += 86_400 * 35
            assert await greylist.rcpt(POOR, "newer@x.test", TO) is ACCEPT

    run(tmp_path, work)


def test_many_recipients_at_once_teach_no_more_than_one(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist()
        recipients = [Address.parse(f"a@{name}.test") for name in "abcde"]
        for to in recipients:
            assert said(await greylist.rcpt(POOR, "a@x.test", to))
        world.clock.now += 60
        for to in recipients:
            assert await greylist.rcpt(POOR, "a@x.test", to) is ACCEPT
        assert said(await greylist.rcpt(POOR, "b@x.test", TO))

    run(tmp_path, work)


@pytest.mark.parametrize(("domain", "vouches"), [("good.test", True), ("all.test", False), ("zero.test", False)])
def test_a_domain_that_vouches_for_its_servers_waits_once(tmp_path: Path, domain: str, vouches: bool) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist()
        assert said(await greylist.rcpt(GOOD, f"bounce-1@{domain}", TO))
        world.clock.now += 60
        far = replace(POOR, ip="198.51.101.7")  # another net
        assert (await greylist.rcpt(far, f"bounce-2@{domain}", TO) is ACCEPT) is vouches

    run(tmp_path, work)


def test_the_dns_is_asked_once_a_transaction(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist(Options(name=False, generic=False))
        for name in ("a", "b", "c"):
            await greylist.rcpt(GOOD, "x@hard.test", Address.parse(f"{name}@demo.test"))
        assert [question.name for question in world.zone.questions] == ["hard.test"]

    run(tmp_path, work)


def test_our_own_never_wait(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist(Options(when="always", trusted_peers=("203.0.113.0/24",)))
        for peer in (replace(POOR, own=True), replace(POOR, login="a@demo.test"), replace(POOR, ip="203.0.113.9")):
            assert await greylist.rcpt(peer, "a@x.test", TO) is ACCEPT
        assert not world.zone.questions
        assert said(await greylist.rcpt(POOR, "a@x.test", TO))

    run(tmp_path, work)
    assert Greylist.members is False


def test_the_header(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist(Options(when="always", header=True))
        assert said(await greylist.rcpt(POOR, "", TO))
        world.clock.now += 312
        verdict = await greylist.rcpt(POOR, "", TO)
        assert verdict.headers == (("X-Greylist", "delayed 312 seconds by mx.test"),)
        text = world.metrics.render().decode()
        assert 'postane_filter_greylist_total{result="deferred"} 1.0' in text
        assert 'postane_filter_greylist_total{result="passed"} 1.0' in text

    run(tmp_path, work)


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        greylist = world.greylist()
        assert said(await greylist.rcpt(POOR, "a@x.test", TO))
        world.clock.now -= 7200
        assert said(await greylist.rcpt(POOR, "a@x.test", TO)).endswith("in 60 seconds")
        world.clock.now += 60
        assert await greylist.rcpt(POOR, "a@x.test", TO) is ACCEPT

    run(tmp_path, work)


def test_a_store_that_is_away_is_the_failure_policys_affair(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        with pytest.raises(TemporaryError):
            await world.greylist().rcpt(POOR, "a@x.test", TO)
        assert await world.greylist(Options()).rcpt(GOOD, "a@good.test", TO) is ACCEPT  # it was not needed

    run(tmp_path / "missing", work)


def test_wrong_options() -> None:
    for wrong in ({"window": 600, "wait": 700}, {"trusted_peers": ["x"]}, {"when": "never"}, {"wait": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Options)
