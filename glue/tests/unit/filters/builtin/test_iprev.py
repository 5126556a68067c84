"""The filter iprev: what each result brings, who is judged, and what a bad option says."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.iprev import Iprev, Options
from postane.filters.pipeline import Pipeline
from support.zone import Zone

ZONE = """
3.2.0.192.in-addr.arpa PTR good.example
good.example A 192.0.2.3
4.2.0.192.in-addr.arpa PTR false.example
5.2.0.192.in-addr.arpa FAIL
"""


def made(**options: Any) -> Iprev:
    zone = Zone(ZONE)
    return Iprev(msgspec.convert(options, Options), Tools("mx.test", Dns(), lambda: 0.0, lambda: zone.ask))


def said(ip: str, **options: Any) -> Verdict:
    return asyncio.run(made(**options).connect(Peer(Service.SMTP, ip, 4711)))


@pytest.mark.parametrize(
    ("ip", "option", "policies"),
    [
        ("192.0.2.3", "", ()),
        ("192.0.2.4", "fail", ("defer", "reject")),
        ("192.0.2.6", "no_name", ("defer", "reject")),
        ("2001:db8::6", "no_name", ("defer", "reject")),
        ("192.0.2.5", "temperror", ("defer",)),
    ],
)
def test_what_each_option_is_for(ip: str, option: str, policies: tuple[str, ...]) -> None:
    every = {"fail": "reject", "no_name": "reject", "temperror": "defer"}
    assert said(ip).decision is Decision.ACCEPT
    assert said(ip, **(every | {option: "accept"} if option else every)).decision is Decision.ACCEPT
    for policy in policies:
        for at_once in (False, True):
            verdict = said(ip, **{option: policy}, at_once=at_once)
            # What is said in place of the greeting has other codes than what is said at RCPT.
            defer, reject = (421, 554) if at_once else (450, 550)
            expected = (Decision.DEFER, defer, "4.7.25") if policy == "defer" else (Decision.REJECT, reject, "5.7.25")
            assert verdict.reply is not None
            assert (verdict.decision, verdict.reply.code, verdict.reply.enhanced) == expected
            assert verdict.why.startswith("iprev: ")
            assert (verdict.opinion, verdict.at_once) == (True, at_once)


def test_the_reply_says_what_is_wrong() -> None:
    assert str(said("192.0.2.4", fail="reject").reply) == (
        "550 5.7.25 Reverse DNS: false.example does not lead back to 192.0.2.4"
    )


@pytest.mark.parametrize(
    ("ip", "options"), [("127.0.0.1", {}), ("::1", {}), ("10.1.2.3", {"trusted_peers": ["10.0.0.0/8"]})]
)
def test_who_is_not_judged(ip: str, options: Any) -> None:
    assert said(ip, no_name="reject", **options) == ACCEPT


def test_bad_options() -> None:
    with pytest.raises(msgspec.ValidationError, match="host bits"):
        made(trusted_peers=["10.0.0.1/8"])


def test_silence_is_a_temperror_and_an_accident_is_for_the_policy() -> None:
    async def silent(question: Question) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    async def broken(question: Question) -> Answer:
        raise ValueError

    def decided(ask: Any, **options: Any) -> Verdict:
        judge = Iprev(msgspec.convert(options, Options), Tools("mx.test", Dns(), lambda: 0.0, lambda: ask))
        return asyncio.run(Pipeline([judge]).connect(Peer(Service.SMTP, "192.0.2.3", 4711)))

    assert str(decided(silent, temperror="defer", timeout=0.2).reply).startswith(
        "450 4.7.25 Reverse DNS: DNS: no answer"
    )
    for policy, code in (("defer", 451), ("reject", 554), ("skip", 0)):
        verdict = decided(broken, on_failure=policy)
        assert (verdict.reply.code if verdict.reply else 0) == code
