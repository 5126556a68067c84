"""The filter: what is counted in which phase, for whom, what it answers, and what is only watched."""

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
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import TemporaryError
from postane.core.peer import Peer, Service
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.rates import Options, Rates
from postane.filters.pace.budget import Limit
from postane.filters.store.make import make_store
from postane.observe.metrics import Metrics
from postane.spool.draft import Draft

PEER = Peer(Service.SMTP, "192.0.2.3", 4711, "h.example")
USER = Peer(Service.SUBMISSION, "192.0.2.3", 4711, login="ayse@demo.test", own=True, tenant="acme")
TO = Address.parse("mehmet@demo.test")
NONE = {"peer": (), "net": (), "sender": (), "account": (), "domain": (), "tenant": ()}


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


Work = Callable[[Callable[[Options], Rates], Clock], Coroutine[Any, Any, None]]


def run(folder: Path, work: Work, metrics: Metrics | None = None) -> None:
    """`work` makes filters over one store."""
    clock = Clock()
    store = make_store(Config(host="mx.test", state=str(folder)), now=clock)
    tools = Tools("mx.test", Dns(), clock, metrics=metrics or Metrics(), state=folder, store=store)

    async def all_of_it() -> None:
        try:
            await work(lambda options: Rates(options, tools), clock)
        finally:
            await store().close()

    asyncio.run(all_of_it())


def only(**limits: tuple[Limit, ...]) -> Options:
    """Options with these limits alone."""
    every: dict[str, Any] = {**NONE, **limits}
    return Options(**every)


def per_hour(counts: str, rate: float, **more: Any) -> Limit:
    return msgspec.convert({"counts": counts, "rate": rate, **more}, Limit)


def said(verdict: Verdict) -> str:
    return str(verdict.reply or "")


def test_connections(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        rates = made(only(peer=(per_hour("connections", 2),), net=(per_hour("connections", 3),)))
        assert await rates.connect(PEER) is ACCEPT
        assert await rates.connect(replace(PEER, port=1)) is ACCEPT
        refused = await rates.connect(PEER)
        assert said(refused) == "421 4.7.1 Too many connections from 192.0.2.3; try again in 30 minutes"
        assert (refused.decision, refused.at_once, refused.opinion) == (Decision.DEFER, True, False)
        assert refused.why == "rates: peer 192.0.2.3: over 2 connections in 3600 s"
        # What was refused for the peer was not taken from its network.
        assert await rates.connect(replace(PEER, ip="192.0.2.99")) is ACCEPT
        assert "the network 192.0.2.0/24" in said(await rates.connect(replace(PEER, ip="192.0.2.100")))
        assert await rates.connect(replace(PEER, ip="198.51.100.1")) is ACCEPT
        assert await rates.connect(replace(PEER, own=True)) is ACCEPT
        clock.now += 1801
        assert await rates.connect(PEER) is ACCEPT

    run(tmp_path, work)


def test_messages_and_recipients_from_outside(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        rates = made(
            only(
                sender=(per_hour("messages", 1), per_hour("recipients", 2)),
                recipient_domain=(per_hour("recipients", 3),),
            )
        )
        assert await rates.mail(PEER, "A@x.test") is ACCEPT
        refused = await rates.mail(PEER, "a@X.TEST")
        assert said(refused) == "451 4.7.1 Too many messages from this sender address; try again in 60 minutes"
        assert refused.at_once
        for _ in range(3):
            assert await rates.mail(PEER, "") is ACCEPT  # the null sender is everybody's
        assert await rates.rcpt(PEER, "a@x.test", TO) is ACCEPT
        assert await rates.rcpt(PEER, "a@x.test", TO) is ACCEPT
        assert said(await rates.rcpt(PEER, "a@x.test", TO)).startswith("450 4.7.1 Too many recipients from this sender")
        assert await rates.rcpt(PEER, "b@x.test", TO) is ACCEPT
        assert said(await rates.rcpt(PEER, "c@x.test", TO)).startswith("450 4.7.1 Too many recipients in demo.test;")
        assert await rates.rcpt(PEER, "c@x.test", Address.parse("a@other.test")) is ACCEPT

    run(tmp_path, work)


def test_who_asks_for_strangers_hears_of_nobody(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        rates = made(only(peer=(per_hour("unknown_recipients", 2),)))
        for _ in range(5):
            assert await rates.rcpt(PEER, "a@x.test", TO) is ACCEPT
        for _ in range(2):
            assert await rates.unknown(PEER, "a@x.test", TO) is ACCEPT
        words = "Too many unknown recipients from 192.0.2.3; try again in 30 minutes"
        assert said(await rates.unknown(PEER, "a@x.test", TO)) == f"450 4.7.1 {words}"
        assert said(await rates.rcpt(PEER, "a@x.test", TO)) == f"450 4.7.1 {words}"
        assert said(await rates.connect(PEER)) == f"421 4.7.1 {words}"
        assert await rates.unknown(USER, "ayse@demo.test", TO) is ACCEPT

    run(tmp_path, work)


def test_our_own_users(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        rates = made(
            only(
                peer=(per_hour("messages", 1),),
                account=(per_hour("messages", 2),),
                domain=(per_hour("messages", 3),),
                tenant=(per_hour("messages", 4),),
            )
        )
        asked = [
            await rates.mail(replace(USER, login=login), "x@demo.test")
            for login in ("ayse@demo.test",) * 3 + ("mehmet@demo.test",) * 2 + ("can@other.test",) * 2
        ]
        assert [said(one).partition(": ")[0].removeprefix("451 4.7.1 ") for one in asked] == [
            *("", "", "The limit of your account is reached"),
            *("", "The limit of your domain is reached"),
            *("", "The limit of your organisation is reached"),
        ]
        assert said(asked[2]).endswith(": 2 messages in 60 minutes; try again in 30 minutes")
        program = Peer(Service.SMTP, "192.0.2.3", 1, own=True)
        assert await rates.mail(program, "x@demo.test") is ACCEPT
        assert await rates.mail(program, "x@demo.test") is ACCEPT

    run(tmp_path, work)


def test_octets_are_counted_once_a_message(tmp_path: Path) -> None:
    body = Draft(tmp_path, "m", 1 << 20)
    body.append(b"x" * 600)

    def envelope(name: str) -> Envelope:
        return Envelope(name, "a@x.test", (Recipient("ayse@demo.test"),), 0.0)

    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        rates = made(only(sender=(per_hour("octets", 1000),), account=(per_hour("octets", 500),)))
        for _ in range(3):
            assert await rates.data(PEER, envelope("one"), body) is ACCEPT
        refused = await rates.data(PEER, envelope("two"), body)
        assert said(refused) == "451 4.7.1 Too many octets from this sender address; try again in 12 minutes"
        # More than a bucket holds passes when it is full.
        assert await rates.data(USER, envelope("three"), body) is ACCEPT
        assert said(await rates.data(USER, envelope("four"), body)).endswith("try again in 60 minutes")
        clock.now += 3600
        assert await rates.data(USER, envelope("five"), body) is ACCEPT

    run(tmp_path, work)
    body.discard()


def test_what_is_watched_is_told_and_passes(tmp_path: Path) -> None:
    metrics = Metrics()

    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        limits = only(sender=(per_hour("messages", 1, mode="watch"), per_hour("messages", 3, seconds=60)))
        rates = made(limits)
        for _ in range(3):
            assert await rates.mail(PEER, "a@x.test") is ACCEPT
        assert said(await rates.mail(PEER, "a@x.test")).startswith("451 ")
        watching = made(msgspec.structs.replace(limits, mode="watch"))
        assert await watching.mail(PEER, "a@x.test") is ACCEPT

    run(tmp_path, work, metrics)
    text = metrics.render().decode()
    assert 'postane_filter_rates_exceeded_total{counts="messages",mode="watch",whose="sender"} 5.0' in text
    assert 'postane_filter_rates_exceeded_total{counts="messages",mode="enforce",whose="sender"} 1.0' in text


def test_two_recipients_options_count_apart_and_two_workers_together(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        narrow = only(peer=(per_hour("messages", 1),))
        other = only(peer=(per_hour("messages", 1),), sender=(per_hour("messages", 9),))
        assert await made(narrow).mail(PEER, "a@x.test") is ACCEPT
        assert await made(other).mail(PEER, "a@x.test") is ACCEPT
        assert await made(narrow).mail(PEER, "a@x.test") is not ACCEPT

    run(tmp_path, work)


def test_trusted_peers_have_no_limits(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        options = only(peer=(per_hour("messages", 1), per_hour("connections", 1)))
        rates = made(msgspec.structs.replace(options, trusted_peers=("192.0.2.0/24",)))
        for _ in range(3):
            assert await rates.connect(PEER) is ACCEPT
            assert await rates.mail(PEER, "a@x.test") is ACCEPT

    run(tmp_path, work)


def test_a_store_that_is_away_is_the_failure_policys_affair(tmp_path: Path) -> None:
    async def work(made: Callable[[Options], Rates], clock: Clock) -> None:
        with pytest.raises(TemporaryError):
            await made(Options()).mail(PEER, "a@x.test")

    run(tmp_path / "missing", work)


@pytest.mark.parametrize(
    "wrong",
    [
        {"account": [{"counts": "connections", "rate": 5}]},
        {"peer": [{"counts": "messages", "rate": 0}]},
        {"peer": [{"counts": "messages", "rate": 5, "seconds": -1}]},
        {"peer": [{"counts": "mails", "rate": 5}]},
        {"peer": [{"counts": "messages", "rate": 5, "per": 1}]},
        {"trusted_peers": ["nowhere"]},
    ],
)
def test_wrong_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Options)
