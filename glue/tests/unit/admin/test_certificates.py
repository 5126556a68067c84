"""Certificates of hosted domains, asked of a real authority (pebble) and proved by real files and real name servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import time_machine
import yaml
from cryptography import x509
from sqlalchemy import update

from postane.admin import certificates, domain
from postane.admin.certificates import Done
from postane.admin.site import Site
from postane.config.model import Certificates, Config, Dns, DnsTarget, Domains
from postane.core.errors import ConfigError, NotFoundError, TemporaryError
from postane.dns.knot import Knot
from postane.dns.records import Plan, Record
from postane.storage.schema import Domain
from postane.tls.acme import Authority
from postane.tls.ledger import Ledger
from postane.tls.schedule import Window
from postane.tls.store import Store
from support import pebble
from support.dns import NameServer, name_server
from support.knot import KNOTD, SECRET, RunningKnot, knotc, running
from support.pebble import PEBBLE, RunningPebble, make_server_certificate
from support.recursor import recursor

pytestmark = pytest.mark.skipif(PEBBLE is None, reason="pebble is not installed")
needs_knot = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")

POSTANE = Path(sys.executable).parent / "postane"
DAY = 86_400.0


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[NameServer, str]]:
    """What everybody sees."""
    with name_server() as (server, address):
        yield server, address


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, world: tuple[NameServer, str]) -> Iterator[RunningPebble]:
    with pebble.running(tmp_path_factory.mktemp("pebble"), world[1]) as ca:
        yield ca


def site_at(folder: Path, nameserver: str, ca: RunningPebble, more: dict[str, Any] | None = None, **dns: Any) -> Site:
    plain = Certificates(
        directory=ca.directory,
        staging=ca.directory,
        ca_bundle=str(ca.bundle),
        webroot=str(ca.webroot),
        names=("mail", "autoconfig", "webmail"),
        dns_wait=0.0,
        order_seconds=20.0,
    )
    settings = msgspec.structs.replace(plain, **(more or {}))
    config = Config(
        host="mx.host.test",
        state=str(folder),
        runtime=str(folder / "run"),
        dns=Dns(nameservers=(nameserver,), timeout=2, addresses=("127.0.0.1",), **dns),
        domains=Domains(target="far" if "targets" in dns else "", delegation="provider.test" if dns else ""),
        certificates=settings,
    )
    site = Site(config)
    site.database.upgrade()
    return site


@pytest.fixture
def site(tmp_path: Path, world: tuple[NameServer, str], authority: RunningPebble) -> Site:
    return site_at(tmp_path, world[1], authority)


def leads_here(server: NameServer, *names: str) -> None:
    for name in names:
        server.records[name, "A"] = ["127.0.0.1"]


def one(done: list[Done]) -> Done:
    [only] = done
    return only


def serial(site: Site, name: str) -> str:
    held = Store(Path(site.config.state)).read(name)
    return held.serial if held else ""


def put_old(site: Site, folder: Path, name: str, *names: str, age: float, life: float = 90.0) -> str:
    """As if it had been issued `age` days ago; returns its serial number."""
    make_server_certificate(folder, *names, begins=-age, days=life, stem="old")
    store, state = Store(Path(site.config.state)), Ledger(Store(Path(site.config.state)))
    chain, key = ((folder / f"old.{end}").read_bytes() for end in ("pem", "key"))
    state.of(name).names = list(names)
    state.save(name)
    return store.put(name, names, chain, key).serial


def test_names_that_lead_here_get_a_certificate_and_nothing_is_asked_for_twice(
    site: Site, world: tuple[NameServer, str], authority: RunningPebble
) -> None:
    leads_here(world[0], "mail.shop.test", "autoconfig.shop.test")
    world[0].records["webmail.shop.test", "A"] = ["198.51.100.7"]
    domain.add(site, "shop.test")
    would = one(certificates.renew(site, None, dry_run=True))
    assert (would.state, would.reason) == ("would order", "missing")
    assert not (Path(site.config.state) / "tls").exists()

    done = one(certificates.renew(site, None))
    assert (done.state, done.names) == ("issued", ("autoconfig.shop.test", "mail.shop.test"))
    assert done.left_out == {"webmail.shop.test": "does not lead to this host"}
    folder = Path(site.config.state) / "tls/domains"
    chain = (folder / "mail.shop.test/fullchain.pem").read_bytes()
    x509.load_pem_x509_certificates(chain)[0].verify_directly_issued_by(x509.load_pem_x509_certificates(chain)[1])
    assert (folder / "mail.shop.test/privkey.pem").stat().st_mode & 0o007 == 0
    assert not (folder / "webmail.shop.test").exists()
    assert list(authority.webroot.iterdir()) == []

    before = serial(site, "shop.test")
    assert one(certificates.renew(site, None)).state == "good"
    assert serial(site, "shop.test") == before
    row = one_row(site)
    assert (row.state, row.names) == ("good", ("autoconfig.shop.test", "mail.shop.test"))
    assert row.next < row.ends


def one_row(site: Site) -> certificates.Row:
    [row] = certificates.listed(site)
    return row


def test_a_name_that_has_come_is_taken_in_and_one_that_has_gone_only_at_the_next_renewal(
    site: Site, world: tuple[NameServer, str]
) -> None:
    leads_here(world[0], "mail.bar.test")
    domain.add(site, "bar.test")
    assert one(certificates.renew(site, None)).names == ("mail.bar.test",)
    leads_here(world[0], "webmail.bar.test")
    assert one(certificates.renew(site, None)).state == "good", "its names are looked at once a day"
    with time_machine.travel(time.time() + 1.1 * DAY, tick=True):
        would = one(certificates.renew(site, None, dry_run=True))
    assert (would.state, would.reason, would.names) == (
        "would order",
        "names",
        ("mail.bar.test", "webmail.bar.test"),
    )
    assert one(certificates.renew(site, ["bar.test"])).names == ("mail.bar.test", "webmail.bar.test")
    del world[0].records["mail.bar.test", "A"]
    with time_machine.travel(time.time() + 1.1 * DAY, tick=True):
        assert one(certificates.renew(site, None, dry_run=True)).state == "good"


def test_what_is_due_is_renewed_and_the_old_one_stays_until_then(
    site: Site, world: tuple[NameServer, str], tmp_path: Path
) -> None:
    leads_here(world[0], "mail.old.test", "mail.young.test")
    for name in ("old.test", "young.test"):
        domain.add(site, name)
    old = put_old(site, tmp_path, "old.test", "mail.old.test", age=61)
    young = put_old(site, tmp_path, "young.test", "mail.young.test", age=50)
    done = {found.domain: found for found in certificates.renew(site, None)}
    assert (done["old.test"].state, done["old.test"].reason) == ("issued", "due")
    assert done["young.test"].state == "good"
    assert serial(site, "old.test") != old
    assert serial(site, "young.test") == young


def test_one_name_that_the_authority_cannot_see_does_not_cost_the_others(
    tmp_path: Path, world: tuple[NameServer, str]
) -> None:
    with name_server() as (theirs, address), pebble.running(tmp_path / "ca", address) as ca:
        leads_here(theirs, "mail.shy.test")
        leads_here(world[0], "mail.shy.test", "webmail.shy.test")
        site = site_at(tmp_path / "state", world[1], ca)
        domain.add(site, "shy.test")
        done = one(certificates.renew(site, None))
        assert (done.state, done.names) == ("issued", ("mail.shy.test",))
        assert "webmail.shy.test" in done.left_out
        row = one_row(site)
        assert (row.state, "webmail.shy.test" in row.why) == ("good", True)
        assert one(certificates.renew(site, None)).state == "good", "it waits for its hour"
        leads_here(theirs, "webmail.shy.test")
        with time_machine.travel(time.time() + 1.1 * DAY, tick=True):
            again = one(certificates.renew(site, None, dry_run=True))
        assert again.names == ("mail.shy.test", "webmail.shy.test")


def test_a_refused_name_that_is_held_stops_the_renewal_until_the_end_is_near(
    tmp_path: Path, world: tuple[NameServer, str]
) -> None:
    with name_server() as (theirs, address), pebble.running(tmp_path / "ca", address) as ca:
        leads_here(theirs, "mail.two.test")
        leads_here(world[0], "mail.two.test", "webmail.two.test")
        site = site_at(tmp_path / "state", world[1], ca)
        domain.add(site, "two.test")
        names = ("mail.two.test", "webmail.two.test")
        before = put_old(site, tmp_path, "two.test", *names, age=61)
        done = one(certificates.renew(site, None))
        assert done.state == "failed"
        assert "webmail.two.test" in done.why
        assert serial(site, "two.test") == before
        assert (one_row(site).state, set(one_row(site).names)) == ("failing", set(names))
        held = one(certificates.renew(site, None))
        assert (held.state, held.why) == ("held", "after 1 failures")
        put_old(site, tmp_path, "two.test", *names, age=85)
        near = one(certificates.renew(site, ["two.test"]))
        assert (near.state, near.names) == ("issued", ("mail.two.test",))


def test_an_authority_that_is_away_is_left_alone_for_a_while_and_nothing_is_lost(
    tmp_path: Path, world: tuple[NameServer, str]
) -> None:
    names = [f"d{number}.away.test" for number in range(4)]
    leads_here(world[0], *(f"mail.{name}" for name in names))
    with pebble.running(tmp_path / "ca", world[1]) as ca:
        site = site_at(tmp_path / "state", world[1], ca)
        for name in names:
            domain.add(site, name)
        before = put_old(site, tmp_path, names[0], f"mail.{names[0]}", age=85)
    done = {found.domain: found for found in certificates.renew(site, None)}
    assert sorted(found.state for found in done.values()).count("failed") >= 1
    assert {found.state for found in done.values()} <= {"failed", "waits"}
    assert "does not answer" in next(found.why for found in done.values() if found.state == "failed")
    assert serial(site, names[0]) == before
    common = Ledger(Store(tmp_path / "state")).common
    assert common.resting_until > time.time() + 500
    assert {found.state for found in certificates.renew(site, None)} == {"waits"}
    assert not Ledger(Store(tmp_path / "state")).of(names[1]).fault.failures, "it is not the domain's fault"
    with pebble.running(tmp_path / "ca2", world[1]) as ca:
        back = site_at(tmp_path / "state", world[1], ca)
        assert {found.state for found in certificates.renew(back, None)} == {"waits"}
        assert one(certificates.renew(back, [names[0]])).state == "issued", "an operator need not wait"
        assert {found.state for found in certificates.renew(back, None)} == {"issued", "good"}


def test_an_account_that_is_refused_is_asked_for_once_and_not_for_each_domain(
    tmp_path: Path, world: tuple[NameServer, str]
) -> None:
    names = [f"e{number}.eab.test" for number in range(5)]
    leads_here(world[0], *(f"mail.{name}" for name in names))
    (tmp_path / "external").write_text("kid-1 d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc\n")
    with pebble.running(tmp_path / "ca", world[1], external=True) as ca:
        site = site_at(tmp_path / "state", world[1], ca, {"external_account": str(tmp_path / "external")})
        for name in names:
            domain.add(site, name)
        done = certificates.renew(site, None)
    assert {found.state for found in done} <= {"failed", "waits"}
    ledger = Ledger(Store(tmp_path / "state"))
    assert ledger.common.resting_until > time.time()
    assert not any(ledger.of(name).fault.failures for name in names)
    assert (tmp_path / "ca/log").read_text().count("POST /sign-me-up") == 1


def test_by_a_wrong_clock_nothing_is_done_and_nothing_is_lost(
    site: Site, world: tuple[NameServer, str], tmp_path: Path
) -> None:
    leads_here(world[0], "mail.clock.test")
    domain.add(site, "clock.test")
    before = put_old(site, tmp_path, "clock.test", "mail.clock.test", age=1)
    for shift in (400 * DAY, 1.5 * DAY):
        with time_machine.travel(time.time() + shift, tick=True):
            done = one(certificates.renew(site, ["clock.test"]))
            assert done.state == "failed"
            assert "clock" in f"{done.why} {done.error and done.error.hint}"
            assert not Ledger(Store(Path(site.config.state))).of("clock.test").fault.failures, "it is not its fault"
    assert serial(site, "clock.test") == before
    with time_machine.travel(time.time() - 400 * DAY, tick=True):
        assert one(certificates.renew(site, None)).state in ("good", "waits")
    assert one(certificates.renew(site, ["clock.test"])).state == "issued"


def test_a_trial_with_the_staging_authority_leaves_nothing_behind(
    tmp_path: Path, world: tuple[NameServer, str], authority: RunningPebble
) -> None:
    leads_here(world[0], "mail.trial.test")
    site = site_at(tmp_path, world[1], authority, {"directory": "https://127.0.0.1:1/dir"})
    domain.add(site, "trial.test")
    done = one(certificates.renew(site, ["trial.test"], staging=True))
    assert (done.state, done.names) == ("tried", ("mail.trial.test",))
    store = Store(tmp_path)
    assert store.domains() == []
    assert Ledger(store).common.orders == []
    assert list(authority.webroot.iterdir()) == []


def test_only_domains_that_are_somebodys_here_are_asked_for(
    site: Site, world: tuple[NameServer, str], tmp_path: Path
) -> None:
    leads_here(world[0], "mail.claim.test", "mail.mine.test")
    domain.add(site, "mine.test")
    domain.add(site, "claim.test")
    with site.database.change() as session:
        session.execute(update(Domain).where(Domain.name == "claim.test").values(state="claimed"))
    assert [found.domain for found in certificates.renew(site, None)] == ["mine.test"]
    with pytest.raises(NotFoundError, match=r"claim\.test is claimed"):
        certificates.renew(site, ["claim.test"])
    with pytest.raises(NotFoundError, match="not hosted here"):
        certificates.renew(site, ["nobody.test"])
    # What somebody removes goes at once; a row that is missing for whatever reason costs nothing that works.
    store = Store(Path(site.config.state))
    assert "mail.mine.test" in store.places()
    domain.remove(site, "mine.test")
    assert store.domains() == []
    with site.database.change() as session:
        session.execute(update(Domain).where(Domain.name == "claim.test").values(state="removed"))
    held = put_old(site, tmp_path, "claim.test", "mail.claim.test", age=1)
    ended = put_old(site, tmp_path, "gone.test", "mail.gone.test", age=95)
    assert held != ended
    assert certificates.renew(site, None) == []
    assert store.domains() == ["claim.test"]


def test_an_authority_that_wants_a_certificate_back_is_followed_in_the_same_run(
    site: Site, world: tuple[NameServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pebble gives no advice: so the authority's word alone is ours, the rest is real."""
    leads_here(world[0], "mail.ari.test")
    domain.add(site, "ari.test")
    assert one(certificates.renew(site, None)).state == "issued"
    before, asked = serial(site, "ari.test"), []

    def advice(_: Authority, pem: bytes) -> tuple[Window, float]:
        asked.append(x509.load_pem_x509_certificate(pem).serial_number)
        return Window(time.time() - 7200, time.time() - 3600), 6 * 3600.0

    monkeypatch.setattr(Authority, "advice", advice)
    done = one(certificates.renew(site, None))
    assert (done.state, done.reason) == ("issued", "advised")
    assert asked == [int(before, 16)]
    monkeypatch.setattr(Authority, "advice", lambda *_: (None, float("inf")))
    assert one(certificates.renew(site, None)).state == "good"


def test_a_domain_of_which_no_name_leads_here_is_looked_at_now_and_then(
    site: Site, world: tuple[NameServer, str]
) -> None:
    domain.add(site, "far.test")
    done = one(certificates.renew(site, None))
    assert (done.state, done.why) == ("none", "no name leads here")
    assert one_row(site).state == "none"
    world[0].questions.clear()
    assert one(certificates.renew(site, None)).state == "none"
    assert one(certificates.renew(site, None, dry_run=True)).state == "none"
    assert world[0].questions == [], "not asked again so soon"
    leads_here(world[0], "mail.far.test")
    with time_machine.travel(time.time() + 3 * 3600, tick=True):
        assert one(certificates.renew(site, None, dry_run=True)).state == "would order"
    assert one(certificates.renew(site, ["far.test"])).state == "issued"


def test_without_an_authority_it_is_said_what_to_configure(site: Site) -> None:
    off = Site(msgspec.structs.replace(site.config, certificates=Certificates()))
    with pytest.raises(ConfigError, match=r"certificates\.directory is empty"):
        certificates.renew(off, None)


def test_two_runs_at_a_time_are_one_too_many(site: Site) -> None:
    with (
        Store(Path(site.config.state)).locked(),
        pytest.raises(TemporaryError, match="being renewed by another process"),
    ):
        certificates.renew(site, None)


def test_more_than_the_window_holds_wait_and_those_that_end_go_first(
    tmp_path: Path, world: tuple[NameServer, str], authority: RunningPebble
) -> None:
    names = [f"n{number}.many.test" for number in range(5)]
    leads_here(world[0], *(f"mail.{name}" for name in names))
    site = site_at(tmp_path / "state", world[1], authority, {"orders": 2})
    for name in names:
        domain.add(site, name)
    put_old(site, tmp_path, names[4], f"mail.{names[4]}", age=85)
    done = {found.domain: found for found in certificates.renew(site, None)}
    assert [name for name in names if done[name].state == "issued"] == [names[0], names[4]]
    assert {done[name].state for name in names[1:4]} == {"held"}
    assert "2 orders in 3 h are enough" in done[names[1]].why
    assert {found.state for found in certificates.renew(site, None)} == {"held", "good"}
    assert {found.state for found in certificates.renew(site, None, dry_run=True)} == {"held", "good"}
    assert {row.state for row in certificates.listed(site)} == {"good", "missing"}
    assert one(certificates.renew(site, [names[2]])).state == "issued", "somebody asks for it"


# -- by the DNS --------------------------------------------------------------------------------------------------------

ZONES = {
    "cafe.test": "mail A 127.0.0.1\nautoconfig A 127.0.0.1\nwww A 198.51.100.9\n",
    "pub.test": "mail A 127.0.0.1\n_acme-challenge.mail CNAME _acme-challenge.mail.pub.test.provider.test.\n"
    "_acme-challenge CNAME _acme-challenge.pub.test.provider.test.\n",
    "provider.test": "",
}


@pytest.fixture(scope="module")
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    if KNOTD is None:
        pytest.skip("Knot is not installed")
    with running(tmp_path_factory.mktemp("knot"), ZONES) as server:
        yield server


@pytest.fixture(scope="module")
def by_knot(tmp_path_factory: pytest.TempPathFactory, knot: RunningKnot) -> Iterator[RunningPebble]:
    with (
        recursor(knot.port) as nameserver,
        pebble.running(tmp_path_factory.mktemp("pebble"), nameserver) as ca,
    ):
        yield ca


def dns_site(folder: Path, knot: RunningKnot, ca: RunningPebble, **more: Any) -> Site:
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text(SECRET)
    server = f"127.0.0.1:{knot.port}"
    far = DnsTarget(type="rfc2136", server=server, key_name="writer", key_file=str(folder / "secret"), timeout=3)
    settings = {"challenge": "dns", **more}
    return site_at(folder, server, ca, settings, targets={"far": far}, knot_socket=knot.socket)


def texts(knot: RunningKnot, zone: str) -> list[str]:
    return [
        line
        for line in knotc(knot.socket, [f"zone-read {zone}."]).splitlines()
        if "_acme-challenge" in line and " TXT " in line
    ]


@needs_knot
def test_a_zone_elsewhere_gets_the_record_by_dns_update_and_loses_it_again(
    tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble
) -> None:
    site = dns_site(tmp_path, knot, by_knot)
    domain.add(site, "cafe.test")
    done = one(certificates.renew(site, None))
    assert (done.state, done.names) == ("issued", ("autoconfig.cafe.test", "mail.cafe.test"))
    assert texts(knot, "cafe.test") == []
    assert "198.51.100.9" in knotc(knot.socket, ["zone-read cafe.test."])


@needs_knot
def test_a_wildcard_where_the_dns_is_ours(tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble) -> None:
    site = dns_site(tmp_path, knot, by_knot, wildcard=True, challenge="auto")
    domain.add(site, "cafe.test")
    done = one(certificates.renew(site, None))
    assert (done.state, done.names) == ("issued", ("autoconfig.cafe.test", "mail.cafe.test"))
    held = Store(tmp_path).read("cafe.test")
    assert held is not None
    assert held.names == ("*.cafe.test",)
    assert sorted(Store(tmp_path).places()) == ["autoconfig.cafe.test", "mail.cafe.test"]
    assert texts(knot, "cafe.test") == []
    assert one(certificates.renew(site, None)).state == "good"


@needs_knot
@pytest.mark.parametrize("wildcard", [False, True])
def test_by_delegation_the_customers_zone_is_never_touched(
    tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble, wildcard: bool
) -> None:
    site = dns_site(tmp_path, knot, by_knot, wildcard=wildcard)
    domain.add(site, "pub.test")
    before = knotc(knot.socket, ["zone-read pub.test."])
    done = one(certificates.renew(site, None))
    assert done.state == "issued", done.why
    assert knotc(knot.socket, ["zone-read pub.test."]) == before
    assert texts(knot, "provider.test") == []


@needs_knot
def test_our_own_name_server_is_written_by_its_control_socket(
    tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble
) -> None:
    site = dns_site(tmp_path, knot, by_knot)
    own = Knot(knot.socket)
    own.change_members(["own.test"], {})
    soa = Record("own.test", "SOA", "ns.own.test. host.own.test. 1 3600 600 86400 60")
    ns = Record("own.test", "NS", "ns.own.test.")
    own.apply([Plan("own.test", (), (soa, ns, Record("mail.own.test", "A", "127.0.0.1")))])
    domain.add(site, "own.test")
    with site.database.change() as session:
        session.execute(update(Domain).where(Domain.name == "own.test").values(dns_target="knot"))
    done = one(certificates.renew(site, None))
    assert (done.state, done.names) == ("issued", ("mail.own.test",)), done.why
    assert texts(knot, "own.test") == []


@needs_knot
def test_a_key_without_rights_is_said_and_the_old_certificate_stays(
    tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble
) -> None:
    site = dns_site(tmp_path, knot, by_knot)
    reader = msgspec.structs.replace(site.config.dns.targets["far"], key_name="reader")
    dns = msgspec.structs.replace(site.config.dns, targets={"far": reader})
    site = Site(msgspec.structs.replace(site.config, dns=dns))
    domain.add(site, "cafe.test")
    before = put_old(site, tmp_path, "cafe.test", "mail.cafe.test", "autoconfig.cafe.test", age=85)
    done = one(certificates.renew(site, None))
    assert done.state == "failed"
    assert "its record cannot be put: far does not accept the key" in done.why
    assert serial(site, "cafe.test") == before


@needs_knot
def test_what_a_killed_run_leaves_behind_the_next_one_takes_away(
    tmp_path: Path, knot: RunningKnot, by_knot: RunningPebble
) -> None:
    """Killed while it waits for the domain's servers to show the record."""
    site = dns_site(tmp_path, knot, by_knot, dns_wait=60.0)
    domain.add(site, "cafe.test")
    before = put_old(site, tmp_path, "cafe.test", "mail.cafe.test", "autoconfig.cafe.test", age=85)
    config = tmp_path / "postane.yml"
    config.write_text(yaml.safe_dump(json.loads(msgspec.json.encode(site.config))))
    process = subprocess.Popen(
        [str(POSTANE), "--config", str(config), "certificate", "renew", "cafe.test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ,
    )
    end = time.monotonic() + 30
    while not texts(knot, "cafe.test") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    assert len(texts(knot, "cafe.test")) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert serial(site, "cafe.test") == before
    assert len(Ledger(Store(tmp_path)).common.left) == 1

    quick = Site(
        msgspec.structs.replace(
            site.config, certificates=msgspec.structs.replace(site.config.certificates, dns_wait=0.0)
        )
    )
    done = one(certificates.renew(quick, None))
    assert (done.state, done.reason) == ("issued", "pressing")
    assert texts(knot, "cafe.test") == []
    assert Ledger(Store(tmp_path)).common.left == []
    assert serial(site, "cafe.test") != before
