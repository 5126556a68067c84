from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.nameserver import Do53Nameserver

from postane.config.model import Dns
from postane.core.errors import ConfigError, TemporaryError
from postane.core.question import NO_SUCH_NAME, Answer, Question
from postane.dns.resolver import MailHost, NoSuchNameError, Resolver, _life, _nothing_for
from support.dns import NameServer


def asked(test: Callable[[NameServer, Resolver], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        server = NameServer()
        resolver = Resolver(Dns(nameservers=(await server.start(),), timeout=0.6))
        try:
            await test(server, resolver)
        finally:
            server.stop()

    asyncio.run(main())


def test_typed_answers() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("x.test", "MX", "20 b.x.test.", "10 A.x.test.")
        server.add("null.test", "MX", "0 .")
        server.add("a.x.test", "A", "192.0.2.1")
        server.add("a.x.test", "AAAA", "2001:db8::1")
        server.add("x.test", "TXT", '"v=spf1 " "-all"')
        server.add("1.2.0.192.in-addr.arpa", "PTR", "a.x.test.")
        assert await resolver.mail_hosts("x.test") == (MailHost(10, "a.x.test"), MailHost(20, "b.x.test"))
        assert await resolver.mail_hosts("null.test") == (MailHost(0, ""),)
        assert await resolver.mail_hosts("a.x.test") == ()
        assert await resolver.addresses("a.x.test") == ("2001:db8::1", "192.0.2.1")
        assert await resolver.addresses("a.x.test", ipv6=False) == ("192.0.2.1",)
        assert await resolver.addresses("gone.x.test") == ()
        assert await resolver.texts("x.test") == ("v=spf1 -all",)
        assert await resolver.names("192.0.2.1") == ("a.x.test",)
        assert await resolver.names("192.0.2.9") == ()

    asked(test)


def test_where_an_alias_leads_one_step() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("_acme-challenge.a.test", "CNAME", "B.provider.test.")
        server.add("plain.a.test", "A", "192.0.2.1")
        assert await resolver.alias("_acme-challenge.a.test") == "b.provider.test"
        assert await resolver.alias("plain.a.test") == ""
        assert await resolver.alias("nothing.a.test") == ""

    asked(test)


def test_no_such_name() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("x.test", "A", "192.0.2.1")
        for name in ("gone.test", "a" * 64 + ".test", "two..dots"):
            with pytest.raises(NoSuchNameError):
                await resolver.mail_hosts(name)

    asked(test)


@pytest.mark.parametrize(("fault", "word"), [(dns.rcode.SERVFAIL, "SERVFAIL"), (None, "within")])
def test_what_cannot_be_said_now_is_temporary(fault: dns.rcode.Rcode | None, word: str) -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.faults["x.test"] = fault
        with pytest.raises(TemporaryError, match=rf"x\.test MX.*{word}"):
            await resolver.mail_hosts("x.test")
        with pytest.raises(TemporaryError):
            await resolver.addresses("x.test")

    asked(test)


def test_questions_of_evaluations() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("x.test", "MX", "20 b.x.test.", "10 A.x.test.", "30 .")
        server.add("x.test", "A", "192.0.2.1", "192.0.2.2")
        server.add("x.test", "AAAA", "2001:db8::1")
        server.add("x.test", "TXT", '"v=spf1 " "-all"', '"other"')
        server.add("1.2.0.192.in-addr.arpa", "PTR", "a.x.test.")
        server.faults["down.test"] = dns.rcode.SERVFAIL
        assert await resolver.ask(Question("x.test", "MX")) == Answer(("a.x.test", "b.x.test", ""))
        assert sorted((await resolver.ask(Question("X.Test", "A"))).records) == ["192.0.2.1", "192.0.2.2"]
        assert await resolver.ask(Question("x.test", "AAAA")) == Answer(("2001:db8::1",))
        assert sorted((await resolver.ask(Question("x.test", "TXT"))).records) == ["other", "v=spf1 -all"]
        assert await resolver.ask(Question("1.2.0.192.in-addr.arpa", "PTR")) == Answer(("a.x.test",))
        assert await resolver.ask(Question("x.test", "PTR")) == Answer()
        assert await resolver.ask(Question("gone.x.test", "A")) == NO_SUCH_NAME
        assert "SERVFAIL" in (await resolver.ask(Question("down.test", "A"))).failed

    asked(test)


def test_odd_names_are_asked_as_they_are_and_impossible_ones_do_not_exist() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("x.test", "A", "192.0.2.1")
        assert await resolver.ask(Question(r"a b\1@.x.test", "A")) == NO_SUCH_NAME
        assert server.questions == [(r"a\032b\\1\@.x.test", "A")]
        for name in ("two..dots.test", "a" * 64 + ".test", ".".join(["a" * 60] * 5)):
            assert await resolver.ask(Question(name, "A")) == NO_SUCH_NAME
        assert len(server.questions) == 1

    asked(test)


def test_an_alias_is_followed_where_the_server_does_not() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("www.x.test", "CNAME", "y.test.")
        server.add("y.test", "CNAME", "z.test.")
        server.add("z.test", "A", "192.0.2.1")
        server.add("gone.x.test", "CNAME", "gone.test.")
        server.add("loop.test", "CNAME", "pool.test.")
        server.add("pool.test", "CNAME", "loop.test.")
        assert await resolver.ask(Question("www.x.test", "A")) == Answer(("192.0.2.1",))
        assert await resolver.addresses("www.x.test", ipv6=False) == ("192.0.2.1",)
        assert await resolver.ask(Question("www.x.test", "TXT")) == Answer()
        assert await resolver.ask(Question("gone.x.test", "A")) == NO_SUCH_NAME
        assert "aliases" in (await resolver.ask(Question("loop.test", "A"))).failed

    asked(test)


def test_answers_are_kept_for_their_time() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.add("x.test", "MX", "10 a.x.test.")
        await resolver.mail_hosts("x.test")
        await resolver.mail_hosts("x.test")
        assert server.questions == [("x.test", "MX")]

    asked(test)


@pytest.mark.parametrize("text", ["ns.example", "192.0.2.1:dns", "[::1", "192.0.2.300"])
def test_nameserver_must_be_an_address(text: str) -> None:
    with pytest.raises(ConfigError, match="nameservers"):
        Resolver(Dns(nameservers=(text,)))


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:54", "2001:db8::1", 54),
    ],
)
def test_forms_of_a_nameserver(text: str, address: str, port: int) -> None:
    (server,) = Resolver(Dns(nameservers=(text,)))._resolver.nameservers
    assert isinstance(server, Do53Nameserver)
    assert (server.address, server.port) == (address, port)


def test_a_question_is_asked_once_whatever_the_server_says_of_its_life() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        server.ttl = 0
        server.add("x.test", "A", "192.0.2.1")
        server.faults["down.test"] = dns.rcode.SERVFAIL
        for question in [Question("x.test", "A"), Question("X.test", "MX"), Question("gone.test", "A")]:
            await asyncio.gather(*(resolver.ask(question) for _ in range(3)))
            await resolver.ask(question)
        assert await resolver.ask(Question("gone.test", "TXT")) == NO_SUCH_NAME  # of whatever kind
        assert server.questions == [("x.test", "A"), ("x.test", "MX"), ("gone.test", "A")]
        failed = await resolver.ask(Question("down.test", "A"))
        asked = len(server.questions)
        assert await resolver.ask(Question("down.test", "A")) == failed
        assert len(server.questions) == asked

    asked(test)


@pytest.mark.parametrize(
    ("ttl", "most", "life"), [(0, 3600, 5), (60, 3600, 60), (86_400, 3600, 3600), (2**31 - 1, 900, 5)]
)
def test_how_long_an_answer_holds(ttl: int, most: float, life: float) -> None:
    assert _life(ttl, most) == life


def test_a_fresh_question_is_asked_though_the_answer_is_known() -> None:
    async def test(server: NameServer, resolver: Resolver) -> None:
        assert await resolver.ask(Question("x.test", "A")) == NO_SUCH_NAME
        server.add("x.test", "A", "192.0.2.1")
        assert await resolver.ask(Question("x.test", "A")) == NO_SUCH_NAME
        assert await resolver.ask(Question("x.test", "A", fresh=True)) == Answer(("192.0.2.1",))
        server.add("x.test", "A", "192.0.2.2")
        assert len((await resolver.ask(Question("x.test", "A", fresh=True))).records) == 2

    asked(test)


@pytest.mark.parametrize(("soa", "life"), [("300 60", 60), ("60 300", 60), ("", 2**30)])
def test_how_long_nothing_holds(soa: str, life: int) -> None:
    response = dns.message.make_response(dns.message.make_query("gone.x.test", "A"))
    if soa:
        ttl, minimum = soa.split()
        response.authority.append(
            dns.rrset.from_text("x.test.", int(ttl), "IN", "SOA", f"ns.x.test. root.x.test. 1 1 1 1 {minimum}")
        )
    assert _nothing_for(response) == life
