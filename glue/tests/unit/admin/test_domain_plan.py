"""Plans of hosted domains carried out on real name servers: what is ours is known before it is there, and heals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dns.rcode import SERVFAIL
from sqlalchemy import select

from postane.admin import dns, domain, domain_facts, domain_plan
from postane.admin.domain_plan import Applied
from postane.admin.site import Site
from postane.config.model import Config, Dns, DnsTarget, Domains
from postane.core.errors import ConfigError, NotAllowedError, NotFoundError, ServiceMissingError
from postane.dns.records import Record, canonical
from postane.dns.targets.base import WorldChangedError, apply_many
from postane.dns.targets.rfc2136 import Rfc2136, key_from
from postane.domains.kinds import Kind
from postane.domains.plan import Action, decode
from postane.storage.schema import OwnedRecord
from support.dns import name_server
from support.knot import KNOTD, SECRET, RunningKnot, running

needs_knot = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")

OLD = """@ 300 MX 10 mx.old.test.
@ 300 TXT "v=spf1 ip4:198.51.100.0/24 ~all"
@ 300 TXT "site-verification=1"
_dmarc 300 TXT "v=DMARC1; p=reject"
www 300 A 198.51.100.7
"""
FOREIGN = {
    ("{d}", "TXT", "site-verification=1"),
    ("_dmarc.{d}", "TXT", "v=DMARC1; p=reject"),
    ("www.{d}", "A", "198.51.100.7"),
}
DOMAINS = ("shop.test", "cafe.test", "bar.test", "pub.test", "inn.test", "den.test")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    with running(tmp_path_factory.mktemp("knot"), dict.fromkeys(DOMAINS, OLD)) as knot:
        yield knot


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    """A resolver that knows of no parent: what the world sees is not known, quickly."""
    with name_server() as (server, address):
        server.add("", "NS", "root.invalid.")
        yield address


def site_with(folder: Path, nameserver: str, server: RunningKnot | None = None, **wishes: Any) -> Site:
    (folder / "secret").write_text(SECRET)
    port, control = (server.port, server.socket) if server else (1, "/nowhere")
    far = DnsTarget(
        type="rfc2136",
        server=f"127.0.0.1:{port}",
        key_name="writer",
        key_file=str(folder / "secret"),
        timeout=3,
    )
    reader = DnsTarget(type="rfc2136", server=far.server, key_name="reader", key_file=far.key_file)
    targets = {"far": far, "reader": reader}
    settings = Dns(nameservers=(nameserver,), timeout=1, targets=targets, knot_socket=control, addresses=("192.0.2.1",))
    site = Site(Config(host="mail.host.test", state=str(folder), dns=settings, domains=Domains(**wishes)))
    site.database.upgrade()
    return site


def far_records(site: Site, name: str) -> set[tuple[str, str, str]]:
    settings = site.config.dns.targets["far"]
    port = int(settings.server.partition(":")[2])
    target = Rfc2136("far", "127.0.0.1", port, key_from("writer", "hmac-sha256", settings.key_file))
    return {canonical(one) for one in asyncio.run(target.read(name)) or ()}


def rows(site: Site) -> list[tuple[str, str, str]]:
    with site.database.session() as session:
        return sorted((row.kind, row.name, row.words) for row in session.scalars(select(OwnedRecord)))


def foreign(name: str) -> set[tuple[str, str, str]]:
    return {(one.format(d=name), kind, data) for one, kind, data in FOREIGN}


def apply(site: Site, *names: str, take: Sequence[Kind] = ()) -> list[Applied]:
    return domain_plan.apply(site, domain_plan.plan(site, list(names), take=take))


@needs_knot
def test_a_domain_at_another_server_is_planned_carried_out_and_has_nothing_more_to_do(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    site = site_with(tmp_path, nameserver, server, target="far")
    domain.add(site, "shop.test")
    [found] = domain_plan.plan(site, ["shop.test"])
    assert found.plan is not None
    assert [line.kind for line in found.plan.of(Action.CONFLICT)] == [Kind.MX]
    [done] = domain_plan.apply(site, [found])
    assert (done.state, done.conflicts) == ("done", 1)
    there = far_records(site, "shop.test")
    assert foreign("shop.test") <= there
    assert ("shop.test", "TXT", "v=spf1 ip4:198.51.100.0/24 a:mail.host.test ~all") in there
    assert ("shop.test", "MX", "10 mx.old.test.") in there
    assert ("spf", "shop.test", "a:mail.host.test") in rows(site)
    assert "dmarc" not in {kind for kind, _, _ in rows(site)}
    [again] = domain_plan.plan(site, ["shop.test"])
    assert again.plan is not None
    assert not again.plan.changes
    # The MX by the operator's word; then it is ours.
    [done] = apply(site, "shop.test", take=[Kind.MX])
    assert (done.state, done.conflicts) == ("done", 0)
    assert ("shop.test", "MX", "10 mail.host.test.") in far_records(site, "shop.test")
    [done] = apply(site, "shop.test")
    assert done.state == "unchanged"


@needs_knot
def test_what_is_not_kept_any_more_is_let_go(tmp_path: Path, server: RunningKnot, nameserver: str) -> None:
    site = site_with(tmp_path, nameserver, server, target="far")
    domain.add(site, "cafe.test")
    apply(site, "cafe.test")
    before = far_records(site, "cafe.test")
    assert rows(site)
    domain_facts.change(site, "cafe.test", None, ["spf"], {})
    [done] = apply(site, "cafe.test")
    assert done.state == "unchanged"
    assert far_records(site, "cafe.test") == before
    assert [kind for kind, _, _ in rows(site)] == ["spf"]


@needs_knot
def test_a_file_is_carried_out_as_it_is_and_refused_once_the_world_has_changed(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    site = site_with(tmp_path, nameserver, server, target="far")
    domain.add(site, "bar.test")
    document = domain_plan.to_file(domain_plan.plan(site, ["bar.test"]))
    [dry] = domain_plan.apply_file(site, document, dry_run=True)
    assert dry.state == "would change"
    assert rows(site) == []
    [done] = domain_plan.apply_file(site, document)
    assert done.state == "done"
    assert decode(document)[0].add == done.plan.add if done.plan else False
    assert ("bar.test", "TXT", "v=spf1 ip4:198.51.100.0/24 a:mail.host.test ~all") in far_records(site, "bar.test")
    known = rows(site)
    for dry_run in (True, False):
        [late] = domain_plan.apply_file(site, document, dry_run=dry_run)
        assert (late.state, type(late.error)) == ("failed", WorldChangedError)
    assert rows(site) == known


@needs_knot
@pytest.mark.parametrize("reached", [False, True])
def test_a_run_killed_around_the_change_is_healed_by_the_next(
    tmp_path: Path, server: RunningKnot, nameserver: str, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    name = "pub.test" if reached else "inn.test"
    site = site_with(tmp_path, nameserver, server, target="far")
    domain.add(site, name)
    real = apply_many

    class KilledError(BaseException):
        pass

    async def killed(target: Any, changes: Any) -> Any:
        if reached:
            await real(target, changes)
        raise KilledError

    monkeypatch.setattr(domain_plan, "apply_many", killed)
    with pytest.raises(KilledError):
        apply(site, name)
    assert rows(site)  # whatever is there now is known to be ours
    monkeypatch.setattr(domain_plan, "apply_many", real)
    [done] = apply(site, name)
    assert done.state == ("unchanged" if reached else "done")
    there = far_records(site, name)
    assert foreign(name) <= there
    assert (name, "TXT", "v=spf1 ip4:198.51.100.0/24 a:mail.host.test ~all") in there
    with site.database.session() as session:
        for row in session.scalars(select(OwnedRecord)):
            assert canonical(Record(row.name, row.type, row.data)) in there
    # And what is ours can be taken back to the last word.
    domain_facts.change(site, name, None, ["verification"], {})
    [found] = domain_plan.plan(site, [name])
    assert found.plan is not None
    assert not found.plan.changes


@needs_knot
def test_our_own_knot_gets_whole_zones_and_takes_over_what_publish_made(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    site = site_with(tmp_path, nameserver, server)
    site.config = replace_dns(site.config, publish="knot")
    for name in ("one.test", "two.test"):
        domain.add(site, name)
    dns.publish(site, ["one.test"])
    done = apply(site, "one.test", "two.test")
    assert [one.state for one in done] == ["done", "done"]
    assert {name for kind, name, _ in rows(site) if kind == "mx"} == {"one.test", "two.test"}
    assert [one.state for one in apply(site, "one.test", "two.test")] == ["unchanged", "unchanged"]
    # A setting changes what is ours, as a whole.
    domain_facts.change(site, "one.test", None, None, {"dmarc": "reject"})
    [found] = domain_plan.plan(site, ["one.test"])
    assert found.plan is not None
    assert [(line.kind, line.action) for line in found.plan.lines if line.action is Action.CHANGE] == [
        (Kind.DMARC, Action.CHANGE)
    ]


@needs_knot
def test_a_hosts_own_domain_is_whole_at_once_though_nobody_knows_its_addresses_yet(
    tmp_path: Path, server: RunningKnot
) -> None:
    with name_server() as (world, address):
        world.add("", "NS", "root.invalid.")
        world.faults["mail.host.test"] = SERVFAIL
        site = site_with(tmp_path, address, server)
        site.config = replace_dns(site.config, publish="knot")
        domain.add(site, "host.test")
        [done] = apply(site, "host.test")
        assert (done.state, done.conflicts) == ("done", 0)
        assert {"spf", "address"} <= {kind for kind, _, _ in rows(site)}
        assert [one.state for one in apply(site, "host.test")] == ["unchanged"]


def replace_dns(config: Config, **changes: Any) -> Config:
    return msgspec.structs.replace(config, dns=msgspec.structs.replace(config.dns, **changes))


@needs_knot
def test_a_key_without_rights_changes_nothing_and_leaves_no_rows(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    site = site_with(tmp_path, nameserver, server, target="far")
    domain.add(site, "den.test")
    [planned] = domain_plan.plan(site, ["den.test"])
    assert planned.plan is not None
    before = rows(site)
    assert planned.plan.changes
    [done] = domain_plan.apply(site, [replace(planned, plan=replace(planned.plan, target="reader"))])
    assert (done.state, type(done.error)) == ("failed", NotAllowedError)
    assert rows(site) == before


def test_a_target_that_is_away_fails_that_domain_alone(tmp_path: Path, nameserver: str) -> None:
    site = site_with(tmp_path, nameserver)
    domain.add(site, "shop.test")
    domain.add(site, "hand.test")
    domain_facts.change(site, "shop.test", "far", None, {})
    found = {one.domain: one for one in domain_plan.plan(site, None)}
    assert isinstance(found["shop.test"].error, ServiceMissingError)
    assert found["hand.test"].plan is not None
    states = {one.domain: one.state for one in domain_plan.apply(site, list(found.values()))}
    assert states["shop.test"] == "failed"


def test_what_a_domain_wants_of_its_own(tmp_path: Path, nameserver: str) -> None:
    site = site_with(tmp_path, nameserver, spf="a", dmarc="quarantine")
    domain.add(site, "shop.test")
    [one] = domain_facts.known(site, ["shop.test"])
    assert (one.facts.spf, one.facts.dmarc, one.target, one.facts.kinds >= {Kind.MX}) == ("a", "quarantine", "", True)
    assert Kind.PACC not in one.facts.kinds
    first = domain_facts.change(site, "shop.test", "far", ["mx", "spf"], {"spf": "include:_spf.host.test", "ttl": 60})
    assert first.changed
    assert not domain_facts.change(site, "shop.test", None, None, {}).changed
    [one] = domain_facts.known(site, ["shop.test"])
    assert (one.facts.spf, one.facts.ttl, one.target) == ("include:_spf.host.test", 60, "far")
    assert one.facts.kinds == {Kind.MX, Kind.SPF}
    domain_facts.change(site, "shop.test", "", [], {"spf": "", "ttl": 0})
    [one] = domain_facts.known(site, ["shop.test"])
    assert (one.facts.spf, one.facts.ttl, one.target) == ("a", 3600, "")
    with pytest.raises(ConfigError):
        domain_facts.change(site, "shop.test", "none", None, {})
    with pytest.raises(ConfigError):
        domain_facts.change(site, "shop.test", None, ["mxx"], {})
    for wrong in ({"spf": "b c"}, {"dmarc": "x"}):
        with pytest.raises(ConfigError):
            domain_facts.change(site, "shop.test", None, None, {**wrong})
    with pytest.raises(NotFoundError):
        domain_plan.plan(site, ["nobody.test"])


@needs_knot
def test_with_delegation_the_customer_has_cnames_and_our_zone_what_they_lead_to(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    site = site_with(tmp_path, nameserver, server, delegation="dns.host.test")
    site.config = replace_dns(site.config, publish="knot")
    for name in ("hers.test", "his.test"):
        domain.add(site, name)
        domain_facts.change(site, name, "manual", None, {})
    done = apply(site, "hers.test", "his.test")
    assert [(one.domain, one.state) for one in done if one.plan and one.plan.zone == "dns.host.test"] == [
        ("hers.test", "done"),
        ("his.test", "done"),
    ]
    found = domain_plan.plan(site, ["hers.test", "his.test"])
    assert [one.plan.zone for one in found if one.plan] == ["hers.test", "dns.host.test", "his.test", "dns.host.test"]
    behind = [one.plan for one in found if one.plan and one.plan.zone == "dns.host.test"]
    assert all(not one.changes and len(one.of(Action.KEEP)) == 4 for one in behind)
    assert {name for _, name, _ in rows(site)} == {
        f"{label}.{name}.dns.host.test"
        for name in ("hers.test", "his.test")
        for label in ("_dmarc", "_mta-sts", "p-rsa-1._domainkey", "p-ed25519-1._domainkey")
    }
    # Without delegation they go again, and only they.
    site.config = msgspec.structs.replace(site.config, domains=Domains())
    assert {one.state for one in apply(site, "hers.test") if one.plan and one.plan.zone == "dns.host.test"} == {"done"}
    assert {name.partition("his.test")[1] for _, name, _ in rows(site)} == {"his.test"}
