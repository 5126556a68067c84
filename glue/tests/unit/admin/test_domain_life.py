"""Claims, proofs and steps against real name servers: a parent, two servers of the domain, two resolvers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

from postane.admin import account, audit, domain, tenant
from postane.admin.domain_life import Desk
from postane.admin.site import Site
from postane.config.model import Config, Dns, Domains, Listen, Smtp
from postane.core.errors import ConflictError, NotFoundError, TemporaryError
from postane.storage.schema import Claim
from support.authority import Server, serve, stop
from support.dns import NameServer, name_server

D = "shop.test"
CHALLENGE = f"_postane-challenge.{D}"
PARENT = """
    test 60 NS ns.nic.test.
    ns.nic.test 60 A 127.0.0.2
    shop.test 60 NS ns1.shop.test.
    shop.test 60 NS ns2.shop.test.
    ns1.shop.test 60 A 127.0.0.3
    ns2.shop.test 60 A 127.0.0.4
"""
ZONE = """
    shop.test 300 NS ns1.shop.test.
    shop.test 300 NS ns2.shop.test.
    shop.test 3600 MX 10 mx.old.test.
"""
T = TypeVar("T")


class Net:
    """The world around one site, whose clock is turned by hand."""

    def __init__(self, folder: Path, resolvers: list[tuple[NameServer, str]]) -> None:
        self.now = 1_000_000.0
        self.servers = {
            "127.0.0.2": Server({"test": PARENT}),
            "127.0.0.3": Server({D: ZONE}),
            "127.0.0.4": Server({D: ZONE}),
        }
        self.resolvers = [one for one, _ in resolvers]
        for one in self.resolvers:
            one.add("test", "NS", "ns.nic.test.")
            one.add("ns.nic.test", "A", "127.0.0.2")
            one.add(D, "MX", "10 mx.old.test.")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        port = self._run(serve(self.servers))
        (_, first), *others = resolvers
        self.site = Site(
            Config(
                host="mail.host.test",
                state=str(folder),
                dns=Dns(nameservers=(first,), timeout=1.0),
                domains=Domains(resolvers=tuple(address for _, address in others), delegation="dns.host.test"),
                smtp=Smtp(listen=Listen(smtp=("127.0.0.1:9",))),
            )
        )
        self.site.database.upgrade()
        self.desk = Desk(self.site, lambda: self.now, port)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    def put(self, name: str, kind: str, data: str, ttl: int = 60, *, resolvers: int = 0) -> None:
        """In place of what the domain's servers have there, and so many resolvers."""
        for address in ("127.0.0.3", "127.0.0.4"):
            zone = self.servers[address].zones[D]
            zone[:] = [one for one in zone if (one[0], one[2]) != (name, kind)] + [(name, str(ttl), kind, data)]
        for one in self.resolvers[:resolvers]:
            one.records[name, kind] = [data]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(stop, self.servers)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.site.database.close()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with ExitStack() as stack:
        made = Net(tmp_path, [stack.enter_context(name_server()) for _ in range(2)])
        yield made
        made.close()


def proof(net: Net, whose: str = "shop") -> str:
    """A claim's record as a zone has it."""
    try:
        return f'"{net.desk.claim(D, whose, "op").item.record}"'
    except ConflictError as error:
        return f'"{str(error).rsplit(chr(34), 2)[1]}"'


def log(net: Net) -> list[str]:
    return [f"{one.verb.removeprefix('domain ')} {one.detail.get('tenant', '')}" for one in audit.every(net.site)]


def test_a_proof_is_seen_by_the_domains_servers_and_by_resolvers(net: Net) -> None:
    text = proof(net)
    assert "its name servers do not show yet" in net.desk.verify(D).item.holds
    net.put(CHALLENGE, "TXT", '"postane-verification=of-somebody-else"', resolvers=2)
    assert "its name servers do not show yet" in net.desk.verify(D).item.holds
    net.put(CHALLENGE, "TXT", text, resolvers=1)
    held = net.desk.verify(D).item
    assert held.holds == "its name servers show the proof, but only 1 of 2 resolvers see it"
    assert held.check_again_at == net.now + 60
    net.put(CHALLENGE, "TXT", text, resolvers=2)
    done = net.desk.verify(D, who="op")
    assert (done.changed, done.item.state, done.item.proof) == (True, "verified", "txt")
    assert done.item.holds == "it waits for its first account"
    assert len(domain.dkim(net.site, D)) == 2
    assert not net.desk.verify(D).changed
    assert log(net) == ["claim shop", "verify "]


def test_what_nobody_answers_is_no_proof(net: Net) -> None:
    text = proof(net)
    net.put(CHALLENGE, "TXT", text, resolvers=2)
    for address in ("127.0.0.3", "127.0.0.4"):
        net.servers[address].fault = "SERVFAIL"
    held = net.desk.verify(D)
    assert not held.changed
    assert "cannot be known now" in held.item.holds
    net.servers["127.0.0.4"].fault = ""  # one lame server of two
    assert net.desk.verify(D).changed


def test_a_domain_that_nobody_has_registered(net: Net) -> None:
    net.desk.claim("free.test", "shop")
    assert "free.test does not exist" in net.desk.verify("free.test").item.holds


def test_what_can_have_no_mx_is_not_cut_over(net: Net) -> None:
    domain.add(net.site, D)
    for address in ("127.0.0.3", "127.0.0.4"):
        net.servers[address].zones[D] = [(D, "60", "CNAME", "web.far.test.")]
    assert "is an alias of web.far.test" in net.desk.look(D).holds
    domain.add(net.site, "free.test")
    account.add(net.site, "a@free.test", "password-a")
    assert "free.test does not exist" in net.desk.look("free.test").holds
    net.desk.rollback("free.test")
    assert "free.test does not exist" in net.desk.look("free.test").holds


def test_an_alias_with_the_token_is_a_proof_too(net: Net) -> None:
    token = proof(net).strip('"').partition("=")[2]
    net.put(CHALLENGE, "CNAME", "x.dns.host.test.")
    assert not net.desk.verify(D).changed
    net.put(CHALLENGE, "CNAME", f"{token}.dns.host.test.")
    assert net.desk.verify(D).item.proof == "delegation"


def test_of_two_claims_that_one_counts_which_is_proved(net: Net) -> None:
    proof(net, "thief")
    account.add(net.site, f"boss@{D}", "password-a")
    owner = proof(net, "owner")
    with pytest.raises(ConflictError, match="do not show yet"):
        net.desk.verify(D, "owner")
    net.put(CHALLENGE, "TXT", owner, resolvers=2)
    assert not net.desk.verify(D).changed  # the thief's own is still missing
    done = net.desk.verify(D, "owner", who="op")
    assert (done.changed, done.item.tenant, done.item.state) == (True, "owner", "verified")
    assert done.item.accounts == 0
    assert log(net) == ["claim thief", "claim owner", "remove thief", "verify owner"]
    told = audit.every(net.site, D)[2].detail
    assert told == {"tenant": "thief", "state": "claimed", "why": "owner has proved that it is theirs"}
    with net.site.database.session() as session:
        assert session.scalars(select(Claim)).all() == []
    with pytest.raises(NotFoundError, match="thief does not claim"):
        net.desk.verify(D, "thief")


def test_a_later_owner_takes_over_what_was_proved_but_nobodys_mailboxes(net: Net) -> None:
    net.put(CHALLENGE, "TXT", proof(net, "first"), resolvers=2)
    assert net.desk.verify(D).changed
    account.add(net.site, f"ayse@{D}", "password-a")
    net.put(CHALLENGE, "TXT", proof(net, "second"), resolvers=2)
    with pytest.raises(ConflictError, match="still has 1 accounts"):
        net.desk.verify(D, "second")
    assert net.desk.show(D).tenant == "first"
    done = net.desk.verify(D, "second", force=True)
    assert (done.item.tenant, done.item.accounts) == ("second", 0)
    assert account.every(net.site) == []


def test_a_tenant_that_goes_takes_its_claims_along(net: Net) -> None:
    proof(net, "first")
    proof(net, "second")
    tenant.remove(net.site, "second")
    with net.site.database.session() as session:
        assert session.scalars(select(Claim)).all() == []
    with pytest.raises(NotFoundError, match="second does not claim"):
        net.desk.verify(D, "second")


def test_a_rival_claim_outlives_the_domain_and_keeps_its_token(net: Net) -> None:
    proof(net, "first")
    second = proof(net, "second")
    assert proof(net, "second") == second
    domain.remove(net.site, D)
    assert proof(net, "second") == second
    assert net.desk.show(D).tenant == "second"
    net.put(CHALLENGE, "TXT", second, resolvers=2)
    assert net.desk.verify(D, "second").item.state == "verified"


def test_the_way_to_the_cutover_and_on(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    net.put(CHALLENGE, "TXT", proof(net), resolvers=2)
    assert net.desk.verify(D).changed
    account.add(net.site, f"ayse@{D}", "password-a")
    assert net.desk.advance(D).item.state == "shadow"
    held = net.desk.advance(D)
    assert (held.changed, held.item.actions) == (False, ("lower-ttl",))
    assert "the TTL of its MX is 3600 s" in held.item.holds

    net.put(D, "MX", "10 mx.old.test.", 300)
    net.now += 60
    assert "another 1 h 0 min" in net.desk.advance(D).item.holds
    net.now += 3600
    assert f"would not be taken: ayse@{D}: 127.0.0.1:9" in net.desk.advance(D).item.holds  # nobody listens there
    monkeypatch.setattr("postane.admin.domain_look.try_path", lambda *_, **__: (True, "250 ok"))
    assert net.desk.look(D).holds == "everything is ready for cutover: it waits for the operator's word"
    would = net.desk.advance(D, dry_run=True)
    assert (would.changed, would.item.state, net.desk.show(D).state) == (True, "cutover", "shadow")
    done = net.desk.advance(D, who="op")
    assert (done.item.state, done.item.holds) == ("cutover", "its MX is still mx.old.test")
    assert done.item.actions == ("publish", "switch-mx")

    net.put(D, "MX", "10 mail.host.test.", 300, resolvers=1)
    net.now += 60
    assert "caches may keep the old MX for another 5 min" in net.desk.advance(D).item.holds
    net.now += 300
    assert net.desk.advance(D).item.holds == "1 of 2 resolvers still see another MX"
    net.put(D, "MX", "10 mail.host.test.", 300, resolvers=2)
    assert net.desk.advance(D).item.state == "hardened"
    back = net.desk.rollback(D)
    assert back.item.state == "cutover"
    back = net.desk.rollback(D)
    assert (back.item.state, back.item.actions, back.item.old_mx) == (
        "shadow",
        ("restore-mx", "publish"),
        ("mx.old.test",),
    )


def test_a_domain_that_leaves_is_removed_when_the_world_has_seen_it(net: Net) -> None:
    domain.add(net.site, D)
    net.put(D, "MX", "10 mail.host.test.", 300, resolvers=2)
    net.desk.leave(D)
    assert net.desk.advance(D).item.holds == "its export has not been taken yet"
    assert net.desk.advance(D, exported=True).item.holds == "its MX is still ours"
    net.put(D, "MX", "10 mx.new.test.", 300, resolvers=1)
    assert net.desk.advance(D, exported=True).item.holds == "1 of 2 resolvers still see our MX"
    net.put(D, "MX", "10 mx.new.test.", 300, resolvers=2)
    assert net.desk.advance(D, exported=True, dry_run=True).item.state == "removed"
    assert net.desk.advance(D, exported=True, who="op").item.state == "removed"
    assert domain.every(net.site) == []
    assert log(net) == ["add default", "leave ", "remove default"]


def test_the_watch_looks_at_what_is_due_and_leads_on_what_needs_no_word(net: Net) -> None:
    text = proof(net)
    domain.add(net.site, "free.test")
    net.desk.suspend("free.test")
    assert [(one.changed, one.item.name) for one in net.desk.watch()] == [(False, D)]
    assert net.desk.watch() == []  # its time has not come
    net.put(CHALLENGE, "TXT", text, resolvers=2)
    net.now += 60
    assert [(one.changed, one.item.state) for one in net.desk.watch()] == [(True, "verified")]
    account.add(net.site, f"ayse@{D}", "password-a")
    net.now += 60
    assert [one.item.state for one in net.desk.watch()] == ["shadow"]
    net.put(D, "MX", "10 mx.old.test.", 300)
    net.now += 60
    assert [one.changed for one in net.desk.watch()] == [False]  # from here on the operator's word is wanted
    assert [(one.name, one.state, one.accounts) for one in net.desk.every()] == [
        ("free.test", "suspended", 0),
        (D, "shadow", 1),
    ]
    assert [one.who for one in audit.every(net.site) if one.verb == "domain watch"] == ["postane", "postane"]


def test_what_was_changed_during_a_look_is_not_written_over(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    domain.add(net.site, D)
    account.add(net.site, f"ayse@{D}", "password-a")
    net.put(D, "MX", "10 mail.host.test.", 300, resolvers=2)
    look = net.desk._looker.look

    def meanwhile(known: Any) -> Any:
        seen = look(known)
        Desk(net.site).suspend(D)
        return seen

    monkeypatch.setattr(net.desk._looker, "look", meanwhile)
    with pytest.raises(TemporaryError, match="another command"):
        net.desk.advance(D)
    assert net.desk.show(D).state == "suspended"


def test_a_suspended_domain_can_leave_and_be_removed(net: Net) -> None:
    domain.add(net.site, D)
    net.put(D, "MX", "10 mx.new.test.", 300, resolvers=2)
    net.desk.suspend(D, "5xx")
    assert net.desk.leave(D).item.state == "leaving"
    assert (net.desk.show(D).refusal, net.desk.advance(D).changed) == ("5xx", False)
    assert net.desk.advance(D, exported=True).item.state == "removed"
    assert domain.every(net.site) == []


def test_a_dry_watch_says_who_would_be_led_on_and_writes_nothing(net: Net) -> None:
    net.put(CHALLENGE, "TXT", proof(net), resolvers=2)
    would = net.desk.watch(dry_run=True)
    assert [(one.item.stepped, one.item.state) for one in would] == [(True, "verified")]
    assert net.desk.show(D).state == "claimed"
    assert [(one.item.stepped, one.item.state) for one in net.desk.watch()] == [(True, "verified")]
