"""A domain as the world sees it, against real servers on loopback; whatever is wrong is a value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from postane.config.model import Dns
from postane.dns.authority import Authority
from postane.dns.records import Record
from postane.dns.resolver import Resolver
from postane.domains.desired import Facts, desired
from postane.domains.kinds import Kind
from postane.domains.snapshot import Finding, Snapshot, Unanswered
from postane.domains.world import World
from support.authority import Server, serve, stop
from support.dns import NameServer

D = "shop.test"
NAMES = [(D, "MX"), (D, "TXT"), (f"autoconfig.{D}", "A")]
PARENT = """
    test 60 NS ns.nic.test.
    ns.nic.test 60 A 127.0.0.2
    shop.test 60 NS ns1.shop.test.
    shop.test 60 NS ns2.shop.test.
    ns1.shop.test 60 A 127.0.0.3
    ns2.shop.test 60 A 127.0.0.4
    out.test 60 NS ns.elsewhere.example.
"""
ZONE = """
    shop.test 300 NS ns1.shop.test.
    shop.test 300 MX 10 mx.old.test.
    shop.test 300 TXT "v=spf1 " "-all"
    autoconfig.shop.test 60 CNAME web.shop.test.
"""


class Net:
    """The parent's server, two of the domain, and a resolver beside them."""

    def __init__(self) -> None:
        self.parent = Server({"test": PARENT})
        self.first = Server({D: ZONE})
        self.second = Server({D: ZONE})
        self.servers = {"127.0.0.2": self.parent, "127.0.0.3": self.first, "127.0.0.4": self.second}
        self.resolver = NameServer()
        self.resolver.add("test", "NS", "ns.nic.test.")
        self.resolver.add("ns.nic.test", "A", "127.0.0.2")
        self.resolver.add(D, "MX", "10 mx.old.test.")
        self.suffixes: Callable[[str], str] = lambda name: ".".join(name.split(".")[-2:]) if "." in name else ""
        self.seconds = 5.0
        self.world: World | None = None

    async def look(self, domain: str = D, names: list[tuple[str, str]] | None = None) -> Snapshot:
        assert self.world is not None
        return await self.world.look(domain, NAMES if names is None else names)


def on(test: Callable[[Net], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        net = Net()
        port = await serve(net.servers)
        resolver = Resolver(Dns(nameservers=(await net.resolver.start(),), timeout=0.5))
        authority = Authority(0.3, port)
        net.world = World(resolver, authority, lambda name: net.suffixes(name), [("resolver", resolver)])
        try:
            await test(net)
        finally:
            net.resolver.stop()
            stop(net.servers)

    asyncio.run(main())


def test_the_servers_are_found_from_the_parent_and_asked_themselves() -> None:
    async def test(net: Net) -> None:
        found = await net.look()
        assert (found.zone, found.servers, found.trouble, found.unanswered) == (
            D,
            ("ns1.shop.test", "ns2.shop.test"),
            (),
            (),
        )
        assert set(found.records) == {
            Record(D, "MX", "10 mx.old.test.", 300),
            Record(D, "TXT", '"v=spf1 " "-all"', 300),
            Record(f"autoconfig.{D}", "CNAME", "web.shop.test.", 60),
        }
        assert net.parent.questions == [(D, "NS")]
        assert len(net.first.questions) + len(net.second.questions) == 4
        assert net.first.questions
        assert net.second.questions
        assert found.asked == 6

    on(test)


def test_twenty_questions_are_enough_for_all_that_a_domain_has() -> None:
    facts = Facts(D, "mail.host.test", (("a", "k"), ("b", "k")), mta_sts_id="1", token="t", delegation="")

    async def test(net: Net) -> None:
        kinds = {one.record.type for one in desired(facts)}
        assert kinds == {"MX", "TXT", "CNAME", "SRV", "CAA"}
        names = [
            (one.record.name, "A" if one.record.type == "CNAME" else one.record.type)
            for one in desired(facts)
            if one.kind is not Kind.VERIFICATION
        ]
        assert (await net.look(names=names)).asked <= 20
        # The next domain does not ask a resolver for the parent again.
        before = len(net.resolver.questions)
        await net.look("other.test")
        assert [one for one in net.resolver.questions[before:] if one[1] == "NS"] == []

    on(test)


def test_a_public_suffix_is_not_asked_about() -> None:
    async def test(net: Net) -> None:
        found = await net.look("test")
        assert [one.finding for one in found.trouble] == [Finding.SUFFIX]
        assert (found.asked, net.parent.questions) == (0, [])

    on(test)


def test_a_name_that_nobody_registered_is_told_and_has_no_records() -> None:
    async def test(net: Net) -> None:
        found = await net.look("nobody.test")
        assert [one.finding for one in found.trouble] == [Finding.UNREGISTERED]
        assert (found.records, found.unanswered) == ((), ())

    on(test)


def test_a_name_in_somebodys_zone_has_that_zone() -> None:
    async def test(net: Net) -> None:
        net.resolver.add("shop.test", "NS", "ns1.shop.test.", "ns2.shop.test.")
        net.resolver.add("ns1.shop.test", "A", "127.0.0.3")
        net.resolver.add("ns2.shop.test", "A", "127.0.0.4")
        for name in ("new.shop.test", "autoconfig.shop.test"):
            found = await net.look(name, [(name, "MX")])
            assert (found.zone, [one.finding for one in found.trouble if one.finding is not Finding.APEX_ALIAS]) == (
                D,
                [],
            )

    on(test)


def test_a_server_for_the_parent_and_the_domain() -> None:
    async def test(net: Net) -> None:
        net.parent.zones[D] = net.first.zones[D]
        net.resolver.add("ns1.shop.test", "A", "127.0.0.3")
        found = await net.look()
        assert (found.zone, found.servers, len(found.records)) == (D, ("ns1.shop.test",), 3)

    on(test)


def test_a_lame_server_is_told_and_the_other_answers() -> None:
    for fault, words in (("REFUSED", "does not serve the zone (REFUSED)"), ("silent", "does not answer")):

        async def test(net: Net, fault: str = fault, words: str = words) -> None:
            net.second.fault = fault
            found = await net.look()
            assert [one.finding for one in found.trouble] == [Finding.LAME]
            assert words in found.trouble[0].text
            assert "ns2.shop.test" in found.trouble[0].text
            assert (len(found.records), found.unanswered) == (3, ())

        on(test)


def test_servers_without_an_address_and_servers_that_are_all_lame() -> None:
    async def test(net: Net) -> None:
        found = await net.look("out.test")
        assert [one.finding for one in found.trouble] == [Finding.UNASKED]
        assert len(found.unanswered) == 3
        net.first.fault = net.second.fault = "SERVFAIL"
        found = await net.look()
        assert {one.finding for one in found.trouble} == {Finding.LAME}
        assert [(one.name, one.type) for one in found.unanswered] == sorted(NAMES)

    on(test)


def test_silence_is_bounded() -> None:
    async def test(net: Net) -> None:
        net.parent.fault = "silent"
        start = time.monotonic()
        found = await net.look()
        assert time.monotonic() - start < 2
        assert [one.finding for one in found.trouble] == [Finding.UNASKED]
        assert Unanswered in {type(one) for one in found.unanswered}

    on(test)


def test_an_alias_at_the_apex_and_a_wildcard_are_told() -> None:
    async def test(net: Net) -> None:
        for server in (net.first, net.second):
            server.zones[D] = [("shop.test", "60", "CNAME", "web.test."), ("*.shop.test", "60", "MX", "10 mx.test.")]
        found = await net.look()
        told = {one.finding: one for one in found.trouble}
        assert {Finding.APEX_ALIAS, Finding.WILDCARD_MX} <= set(told)
        assert "ALIAS" in told[Finding.APEX_ALIAS].ways_out[0]
        assert found.records == (Record(D, "CNAME", "web.test.", 60),)

    on(test)


def test_what_is_there_by_a_wildcard_alone_is_not_there() -> None:
    names = [(D, "MX"), (f"autoconfig.{D}", "A"), (f"a._domainkey.{D}", "TXT"), (f"_dmarc.{D}", "TXT")]

    async def test(net: Net) -> None:
        for server in (net.first, net.second):
            server.zones[D] = [
                ("shop.test", "60", "MX", "10 mx.old.test."),
                *((f"{name}.shop.test", "60", "A", "192.0.2.8") for name in ("*", "autoconfig")),
                *((f"{name}.shop.test", "60", "TXT", '"v=spf1 -all"') for name in ("*", "a._domainkey", "_dmarc")),
            ]
        found = await net.look(names=names)
        assert found.records == (Record(D, "MX", "10 mx.old.test.", 60),)
        assert found.trouble == ()
        # The same text without a wildcard is the name's own.
        for server in (net.first, net.second):
            server.zones[D] = [one for one in server.zones[D] if not one[0].startswith("*")]
        assert len((await net.look(names=names)).records) == 4

    on(test)


def test_where_there_is_no_wildcard_it_is_not_asked_for_type_by_type() -> None:
    names = [(D, "MX"), (f"autoconfig.{D}", "A"), (f"autodiscover.{D}", "A")]

    async def test(net: Net) -> None:
        for server in (net.first, net.second):
            server.zones[D] = [(name, "60", "CNAME", "mail.host.test.") for name, kind in names if kind == "A"]
        assert (await net.look(names=names)).asked == 1 + 3 + 1 + 1  # the last to a resolver
        for server in (net.first, net.second):
            server.zones[D].append((f"*.{D}", "60", "TXT", '"x"'))
        assert (await net.look(names=names)).asked == 1 + 3 + 1 + 1 + 1

    on(test)


def test_a_resolver_that_still_sees_the_old_is_told() -> None:
    async def test(net: Net) -> None:
        for server in (net.first, net.second):
            server.zones[D] = [("shop.test", "60", "MX", "10 mail.new.test.")]
        found = await net.look()
        assert [(one.finding, "mx.old.test" in one.text) for one in found.trouble] == [(Finding.RESOLVERS, True)]

    on(test)


def test_what_matters_not_does_not_change_the_digest() -> None:
    async def test(net: Net) -> None:
        first = await net.look()
        net.second.fault = "REFUSED"
        second = await net.look()
        assert first.digest([D]) == second.digest([D])
        net.second.fault = ""
        for server in (net.first, net.second):
            server.zones[D].append(("shop.test", "300", "MX", "20 b.test."))
        assert (await net.look()).digest([D]) != first.digest([D])

    on(test)
