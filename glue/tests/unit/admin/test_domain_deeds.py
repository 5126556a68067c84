"""Steps of a domain's life with its records: a parent, the customer's name server that takes updates, resolvers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postane.admin import account, audit, domain, domain_facts, domain_plan
from postane.admin.domain_life import Desk
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config, Dns, DnsTarget, Domains
from postane.dns.targets.base import apply_many
from postane.domains.plan import Action
from postane.storage.schema import OwnedRecord, ReportSource
from postane.storage.schema import Report as ReportRow
from support.dns import NameServer, name_server
from support.knot import KNOTD, SECRET, RunningKnot, change, free_port, knotc, running

pytestmark = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")

PARENT, FOREIGN = "127.0.0.2", "127.0.0.3"
NAMES = ("way.test", "key.test", "dead.test", "stop.test", "hand.test", "gone.test", "own.test", "none.test")
OLD = """@ 3600 MX 10 mx.old.test.
@ 3600 MX 20 mx2.old.test.
@ 300 TXT "site-verification=1"
www 300 A 198.51.100.7
"""
DAY = 86_400.0


class Net:
    def __init__(self, foreign: RunningKnot, resolver: NameServer, address: str, folder: Path) -> None:
        self.foreign = foreign
        self.resolver = resolver
        self.now = time.time()
        (folder / "secret").write_text(SECRET)
        far = DnsTarget(
            type="rfc2136", server=f"{FOREIGN}:{foreign.port}", key_name="writer", key_file=str(folder / "secret")
        )
        reader = DnsTarget(type="rfc2136", server=far.server, key_name="reader", key_file=far.key_file)
        settings = Dns(nameservers=(address,), timeout=1, targets={"far": far, "reader": reader})
        config = Config(host="mail.host.test", state=str(folder), dns=settings, domains=Domains(target="far"))
        self.site = Site(config)
        self.site.database.upgrade()
        self.desk = Desk(self.site, lambda: self.now, foreign.port)

    def shadow(self, name: str, target: str | None = None) -> None:
        """A claimed domain with an account, proved by the operator's word, led into the shadow."""
        self.desk.claim(name, "shop")
        domain.add(self.site, name)
        account.add(self.site, f"ayse@{name}", "password-a")
        if target is not None:
            domain_facts.change(self.site, name, target, None, {})
        assert self.desk.advance(name, dns=target is None).item.state == "shadow"

    def ready(self, name: str) -> None:
        """Shadow, with all that the cutover waits for."""
        self.shadow(name)
        self.desk.advance(name)
        self.desk.look(name)
        self.now += 3601
        assert self.desk.look(name).holds == "everything is ready for cutover: it waits for the operator's word"

    def has(self, name: str, kind: str, owner: str = "@") -> set[str]:
        """`data` of the records there, with the TTL."""
        said = knotc(self.foreign.socket, [f"zone-read {name}. {owner} {kind}"])
        found = [line.split(None, 4) for line in said.splitlines() if f" {kind} " in line]
        return {f"{one[2]} {one[4]}" for one in found}

    def resolvers_see(self, name: str, *data: str) -> None:
        self.resolver.records[name, "MX"] = list(data)

    def ours(self, name: str) -> set[str]:
        with self.site.database.session() as session:
            row = hosted_domain(session, name)
            query = select(OwnedRecord.kind).where(OwnedRecord.domain_id == row.id)
            return set(session.scalars(query))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningKnot, NameServer, str]]:
    port = free_port()
    cuts = "".join(f"{name}. 60 NS ns.{name}.\nns.{name}. 60 A {FOREIGN}\n" for name in NAMES)
    here, there = tmp_path_factory.mktemp("parent"), tmp_path_factory.mktemp("foreign")
    with (
        running(here, {"test": cuts}, addresses=[PARENT], port=port),
        running(there, dict.fromkeys(NAMES, OLD), addresses=[FOREIGN], port=port) as foreign,
        name_server() as (resolver, address),
    ):
        resolver.add("test", "NS", "ns.nic.test.")
        resolver.add("ns.nic.test", "A", PARENT)
        yield foreign, resolver, address


@pytest.fixture
def net(tmp_path: Path, servers: tuple[RunningKnot, NameServer, str], monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.setattr("postane.admin.domain_look.try_path", lambda *_, **__: (True, "250 ok"))
    return Net(*servers, tmp_path)


OLD_MX = {"300 10 mx.old.test.", "300 20 mx2.old.test."}
OUR_MX = {"300 10 mail.host.test."}


def test_the_whole_way_there_and_one_step_back(net: Net) -> None:
    name = "way.test"
    net.resolvers_see(name, "10 mx.old.test.", "20 mx2.old.test.")
    net.shadow(name)
    assert any("v=spf1 a:mail.host.test" in one for one in net.has(name, "TXT"))
    assert net.has(name, "MX") == {"3600 10 mx.old.test.", "3600 20 mx2.old.test."}
    assert net.has(name, "TXT", "_dmarc") == set()

    dry = net.desk.advance(name, dry_run=True)
    assert [one.state for one in dry.item.deeds] == ["would change"]
    assert net.has(name, "MX") == {"3600 10 mx.old.test.", "3600 20 mx2.old.test."}
    held = net.desk.advance(name, dns=False)
    assert (held.changed, held.item.deeds, held.item.actions) == (False, (), ("lower-ttl",))
    held = net.desk.advance(name)
    assert (held.changed, held.item.stepped, held.item.state) == (True, False, "shadow")
    assert [one.state for one in held.item.deeds] == ["done"]
    assert net.has(name, "MX") == OLD_MX
    assert "mx" not in net.ours(name)
    assert "caches may keep its MX with the old TTL" in net.desk.look(name).holds

    net.now += 3601
    done = net.desk.advance(name, who="op")
    assert (done.item.state, done.item.stepped) == ("cutover", True)
    assert net.has(name, "MX") == OUR_MX  # as short as the old one, so that the way back is
    assert net.has(name, "TXT", "_dmarc")
    assert "mx" in net.ours(name)

    dry = net.desk.rollback(name, dry_run=True)
    assert (dry.item.state, net.desk.show(name).state) == ("shadow", "cutover")
    assert any("mx.old.test" in one for deed in dry.item.deeds for one in deed.added)
    back = net.desk.rollback(name, "op")
    assert (back.item.state, [one.state for one in back.item.deeds]) == ("shadow", ["done"])
    assert net.has(name, "MX") == OLD_MX
    assert net.has(name, "TXT", "_dmarc") == set()
    assert "mx" not in net.ours(name)
    assert {'300 "site-verification=1"'} <= net.has(name, "TXT")

    net.now += 301
    assert net.desk.advance(name).item.state == "cutover"
    net.resolvers_see(name, "10 mail.host.test.")
    net.desk.look(name)
    net.now += 3601
    assert net.desk.advance(name).item.state == "hardened"
    assert net.has(name, "MX") == {"3600 10 mail.host.test."}
    assert audit.every(net.site, name)[3].detail == {"state": "shadow", "did": "lower-ttl"}
    assert [one.verb for one in audit.every(net.site, name)] == [
        "domain claim",
        "domain add",
        *["domain advance"] * 3,
        "domain rollback",
        *["domain advance"] * 2,
    ]
    harden(net, name)


def harden(net: Net, name: str) -> None:
    """Policies follow the reports, each time anew."""

    def reported(days: int, passed: int, failed: int) -> None:
        with net.site.database.change() as session:
            row = hosted_domain(session, name)
            for day in range(days):
                at = net.now + day * DAY
                one = ReportRow(domain_id=row.id, kind="dmarc", reporter="far", report_id=str(at), begins=at, ends=at)
                session.add(one)
                session.flush()
                session.add(ReportSource(report_id=one.id, source="192.0.2.1", passed=passed, failed=failed))
        net.now += (days + 1) * DAY

    reported(14, 90, 10)
    [held] = net.desk.watch()
    assert "10.0% of its mail is not authentic" in held.item.holds
    assert any("p=none" in one for one in net.has(name, "TXT", "_dmarc"))
    reported(30, 10_000, 0)
    [done] = net.desk.watch()
    assert done.changed
    assert any("p=quarantine" in one for one in net.has(name, "TXT", "_dmarc"))
    assert domain_facts.known(net.site, [name])[0].facts.mta_sts == "enforce"
    net.now += DAY
    [held] = net.desk.watch()
    assert "until there are reports" in held.item.holds  # those of before are about the policy of before
    reported(14, 100, 0)
    assert net.desk.watch()[0].changed
    assert any("p=reject" in one for one in net.has(name, "TXT", "_dmarc"))
    verbs = [(one.verb, one.detail.get("dmarc")) for one in audit.every(net.site, name)]
    assert verbs[-2:] == [("domain watch", "quarantine"), ("domain watch", "reject")]


def test_what_a_target_refuses_leaves_the_domain_where_it_was(net: Net) -> None:
    name = "key.test"
    net.ready(name)
    domain_facts.change(net.site, name, "reader", None, {})
    done = net.desk.advance(name, who="op")
    assert (done.changed, done.item.state, done.item.stepped) == (False, "shadow", False)
    assert done.item.holds.startswith("its records could not be changed: ")
    assert "reader" in done.item.deeds[0].target
    assert net.has(name, "MX") == OLD_MX
    told = audit.every(net.site, name)[-1]
    assert (told.detail["before"], told.detail["state"]) == ("cutover", "shadow")
    domain_facts.change(net.site, name, "far", None, {})
    assert net.desk.advance(name).item.state == "cutover"
    domain_facts.change(net.site, name, "reader", None, {})
    back = net.desk.rollback(name)
    assert (back.changed, back.item.state) == (False, "cutover")
    assert net.has(name, "MX") == OUR_MX
    # The operator may do it by hand, and say so.
    assert net.desk.rollback(name, dns=False).item.state == "shadow"


@pytest.mark.parametrize("reached", [False, True])
def test_who_is_killed_in_a_step_makes_it_again(net: Net, monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    name = "dead.test" if reached else "stop.test"
    real = apply_many

    class KilledError(BaseException):
        pass

    async def killed(target: Any, changes: Any) -> Any:
        if reached:
            await real(target, changes)
        raise KilledError

    net.shadow(name, "manual")
    domain_facts.change(net.site, name, "far", None, {})
    net.desk.rollback(name)
    with monkeypatch.context() as patched:
        patched.setattr(domain_plan, "apply_many", killed)
        with pytest.raises(KilledError):
            net.desk.advance(name)
    assert net.desk.show(name).state == "verified"
    assert net.desk.advance(name).item.state == "shadow"
    assert {"spf", "dkim"} <= net.ours(name)

    net.desk.advance(name)
    net.desk.look(name)
    net.now += 3601
    with monkeypatch.context() as patched:
        patched.setattr(domain_plan, "apply_many", killed)
        with pytest.raises(KilledError):
            net.desk.advance(name)
    # Its mail is taken already: whether it is led here yet does not matter, and the next run sees to it.
    assert net.desk.show(name).state == "cutover"
    again = net.desk.advance(name)
    assert (again.item.state, net.has(name, "MX")) == ("cutover", OUR_MX)
    assert "mx" in net.ours(name)

    with monkeypatch.context() as patched:
        patched.setattr(domain_plan, "apply_many", killed)
        with pytest.raises(KilledError):
            net.desk.rollback(name)
    assert net.desk.show(name).state == "cutover"
    assert net.desk.rollback(name).item.state == "shadow"
    assert net.has(name, "MX") == OLD_MX
    assert "mx" not in net.ours(name)


def test_where_a_person_keeps_the_dns_it_is_said_what_to_do(net: Net) -> None:
    name = "hand.test"
    net.shadow(name, "manual")
    held = net.desk.advance(name)
    assert [(one.state, one.left) for one in held.item.deeds] == [("manual", ("the TTL of its MX: 600 s or less",))]
    assert not held.changed
    change(net.foreign, name, remove=[f"{name}. MX"], add=[f"{name}. 300 MX 10 mx.old.test."])
    net.desk.look(name)
    net.now += 3601
    done = net.desk.advance(name)
    assert (done.item.state, done.item.deeds[0].state) == ("cutover", "manual")
    assert any("10 mail.host.test." in one for one in done.item.deeds[0].added)
    assert net.has(name, "MX") == {"300 10 mx.old.test."}


def test_the_mx_is_not_moved_where_it_cannot_stand(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "none.test"
    net.ready(name)
    real = domain_plan.plan_known

    def stuck(*arguments: Any, **options: Any) -> Any:
        planned = real(*arguments, **options)
        assert planned[0].plan is not None
        conflict = Action.CONFLICT
        lines = [
            replace(one, action=conflict, reason="an alias") if one.kind == "mx" else one
            for one in planned[0].plan.lines
        ]
        return [replace(planned[0], plan=replace(planned[0].plan, lines=tuple(lines)))]

    monkeypatch.setattr(domain_plan, "plan_known", stuck)
    done = net.desk.advance(name)
    assert (done.item.state, done.item.holds) == ("shadow", "its records could not be changed: an alias")
    monkeypatch.setattr(domain_plan, "plan_known", real)
    # Of a kind that Postane does not keep a person takes care.
    domain_facts.change(net.site, name, None, ["spf", "dkim"], {})
    done = net.desk.advance(name)
    assert (done.item.state, net.has(name, "MX")) == ("cutover", OLD_MX)


def test_a_domain_that_came_from_nowhere_keeps_its_mx_on_the_way_back(net: Net) -> None:
    name = "own.test"
    domain.add(net.site, name)
    change(net.foreign, name, remove=[f"{name}. MX"])
    [planned] = domain_plan.plan(net.site, [name], servers_port=net.foreign.port)
    domain_plan.apply(net.site, [planned])
    assert net.has(name, "MX") == {"3600 10 mail.host.test."}
    assert net.desk.rollback(name).item.state == "shadow"
    assert net.has(name, "MX") == {"3600 10 mail.host.test."}


def test_who_leaves_takes_our_records_along_and_leaves_the_rest(net: Net) -> None:
    name = "gone.test"
    net.resolvers_see(name, "10 mx.old.test.")
    net.shadow(name)
    net.desk.leave(name)
    assert net.desk.advance(name).item.holds == "its export has not been taken yet"
    domain_facts.change(net.site, name, "reader", None, {})
    done = net.desk.advance(name, exported=True)
    assert (done.changed, done.item.state) == (False, "leaving")
    domain_facts.change(net.site, name, "far", None, {})
    assert net.desk.advance(name, exported=True).item.state == "removed"
    assert net.has(name, "TXT") == {'300 "site-verification=1"'}
    assert net.has(name, "MX") == {"3600 10 mx.old.test.", "3600 20 mx2.old.test."}
    assert domain.every(net.site) == []
