"""The filter helo: which facts refuse, who is judged, and what a bad option says."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.errors import ConfigError
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.helo import HeloName, Options
from postane.filters.pipeline import Pipeline
from support.zone import Zone

ZONE = "here.example A 192.0.2.3\nthere.example A 192.0.2.9\nown.example A 198.51.100.1\ndown.example FAIL"
DNS = Dns(addresses=("198.51.100.1",))


def made(**options: Any) -> HeloName:
    zone = Zone(ZONE)
    return HeloName(msgspec.convert(options, Options), Tools("MX.ours.example", DNS, lambda: 0.0, lambda: zone.ask))


def said(helo: str, ip: str = "192.0.2.3", login: str = "", **options: Any) -> Verdict:
    peer = Peer(Service.SUBMISSION if login else Service.SMTP, ip, 4711, helo, login=login)
    return asyncio.run(made(**options).mail(peer, "a@x.example"))


@pytest.mark.parametrize(
    ("helo", "option", "by_default"),
    [
        ("mx.ours.example", "ours", "reject"),
        ("[198.51.100.1]", "ours", "reject"),
        ("own.example", "", "accept"),
        ("a..b", "malformed", "reject"),
        ("[192.0.2.9]", "false_literal", "accept"),
        ("localhost", "unqualified", "accept"),
        ("gone.example", "no_such_name", "accept"),
        ("here.example", "", "accept"),
        ("there.example", "", "accept"),
        ("down.example", "", "accept"),
        ("[192.0.2.3]", "", "accept"),
    ],
)
def test_what_each_option_is_for(helo: str, option: str, by_default: str) -> None:
    every = dict.fromkeys(("ours", "malformed", "false_literal", "unqualified", "no_such_name"), "accept")
    assert said(helo).decision.name.lower() == by_default
    for policy, decision, code in (
        ("accept", Decision.ACCEPT, 0),
        ("defer", Decision.DEFER, 450),
        ("reject", Decision.REJECT, 550),
    ):
        verdict = said(helo, **({**every, option: policy} if option else dict.fromkeys(every, policy)))
        expected = (decision, code) if option else (Decision.ACCEPT, 0)
        assert (verdict.decision, verdict.reply.code if verdict.reply else 0) == expected
        assert (verdict.opinion, verdict.at_once) == (True, False)
        assert verdict.why.startswith("HELO: ")


def test_a_refusal_may_be_said_at_once() -> None:
    assert said("mx.ours.example", at_once=True).at_once


def test_the_reply_says_what_is_wrong() -> None:
    assert str(said("mx.ours.example").reply) == "550 5.7.1 HELO: mx.ours.example is our own name"
    assert str(said("a\r\n..b").reply) == "550 5.7.1 HELO: 'a\\r\\n..b' is neither a domain nor an address literal"
    assert str(said("ş..b").reply) == "550 5.7.1 HELO: malformed"
    assert len(str(said("a..b" * 200).reply)) < 450


def test_more_names_and_addresses_of_ours() -> None:
    options: Any = {"own_names": ["alias.example."], "own_addresses": ["2001:db8::0001"]}
    assert said("Alias.Example", **options).decision is Decision.REJECT
    assert said("[IPv6:2001:db8::1]", **options).decision is Decision.REJECT
    assert said("alias.example", "198.51.100.1", **options).decision is Decision.ACCEPT


@pytest.mark.parametrize(
    ("ip", "login", "options"),
    [
        ("127.0.0.1", "", {}),
        ("::1", "", {}),
        ("192.0.2.3", "ayse@x.example", {}),
        ("10.1.2.3", "", {"trusted_peers": ["10.0.0.0/8"]}),
    ],
)
def test_who_is_not_judged(ip: str, login: str, options: Any) -> None:
    assert said("a..b", ip, login, **options) == ACCEPT


@pytest.mark.parametrize(
    "options", [{"own_names": ["a..b"]}, {"own_addresses": ["nowhere"]}, {"trusted_peers": ["10.0.0.1/8"]}]
)
def test_bad_options(options: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=str(next(iter(options.values()))[0])):
        made(**options)


def test_a_bad_address_of_the_host() -> None:
    with pytest.raises(ConfigError, match=r"dns\.addresses: 'nowhere'"):
        HeloName(Options(), Tools("mx.test", Dns(addresses=("nowhere",)), lambda: 0.0, lambda: Zone("").ask))


def test_a_silent_dns_refuses_nothing_and_an_accident_is_for_the_policy() -> None:
    async def silent(question: Question) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    async def broken(question: Question) -> Answer:
        raise ValueError

    peer = Peer(Service.SMTP, "192.0.2.3", 4711, "here.example")
    quiet = HeloName(Options(no_such_name="reject", timeout=0.2), Tools("mx.test", Dns(), lambda: 0.0, lambda: silent))
    assert asyncio.run(Pipeline([quiet]).mail(peer, "")).decision is Decision.ACCEPT
    for policy, code in (("defer", 451), ("reject", 554), ("skip", 0)):
        options = msgspec.convert({"on_failure": policy}, Options)
        verdict = asyncio.run(
            Pipeline([HeloName(options, Tools("mx.test", Dns(), lambda: 0.0, lambda: broken))]).mail(peer, "")
        )
        assert (verdict.reply.code if verdict.reply else 0) == code
