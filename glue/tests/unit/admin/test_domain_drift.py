"""Drift made by hand at real name servers: seen, mended where it is ours, told where it is not."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import func, select

from postane.admin import audit, domain, domain_facts, domain_plan, metrics
from postane.admin.domain_drift import Watch
from postane.admin.domain_findings import FindingView
from postane.admin.site import Site
from postane.config.model import Config, Dns, DnsTarget, Domains, Tls
from postane.core.errors import ConflictError, NotFoundError
from postane.domains.kinds import Kind
from postane.spool.view import SpoolView
from postane.storage.schema import DriftFinding, DriftLook
from support.authority import Server, serve, stop
from support.dns import NameServer, name_server
from support.knot import KNOTD, SECRET, RunningKnot, change, free_port, knotc, running

pytestmark = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")

PARENT, FOREIGN, SECOND = "127.0.0.2", "127.0.0.3", "127.0.0.4"
DOMAINS = ("shop.test", "cafe.test", "bar.test", "pub.test", "inn.test", "den.test", "zoo.test")
SIGNED = "zoo.test"
EVERY = 21_600.0


class Net:
    """The parent's server, one at two addresses that is none of ours, and a resolver; the clock is turned by hand."""

    def __init__(self, parent: RunningKnot, foreign: RunningKnot, nameserver: str, folder: Path) -> None:
        self.parent = parent
        self.foreign = foreign
        self.nameserver = nameserver
        self.folder = folder
        self.now = 1_000_000.0

    def site(self, state: Path, **wishes: Any) -> Site:
        secret = state / "secret"
        secret.write_text(SECRET)
        far = DnsTarget(
            type="rfc2136", server=f"{FOREIGN}:{self.foreign.port}", key_name="writer", key_file=str(secret), timeout=3
        )
        settings = Dns(nameservers=(self.nameserver,), timeout=1, targets={"far": far}, knot_socket=self.foreign.socket)
        site = Site(
            Config(
                host="mail.host.test",
                state=str(state),
                runtime=str(state / "run"),
                dns=settings,
                domains=Domains(watch_every=EVERY, **wishes),
            )
        )
        site.database.upgrade()
        return site

    def watch(self, site: Site) -> Watch:
        return Watch(site, lambda: self.now, self.foreign.port)

    def put_all(self, site: Site, name: str) -> None:
        """What the domain should have, at a target that is written to or by hand."""
        found = domain_plan.plan(site, [name], take=[Kind.MX], servers_port=self.foreign.port)
        if found[0].plan is not None and found[0].plan.target == "far":
            assert [one.state for one in domain_plan.apply(site, found)] == ["done"]
            return
        for one in found:
            assert one.plan is not None
            if one.plan.zone == name:
                lines = [f"{record.name}. 300 {record.type} {record.data}" for record in one.plan.add]
                assert not one.plan.remove
                change(self.foreign, name, add=lines)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    port = free_port()
    cuts = "".join(
        f"{name}. 60 NS ns.{name}.\n{name}. 60 NS ns2.{name}.\nns.{name}. 60 A {FOREIGN}\nns2.{name}. 60 A {SECOND}\n"
        for name in DOMAINS
    )
    here, there = tmp_path_factory.mktemp("parent"), tmp_path_factory.mktemp("foreign")
    with (
        running(here, {"test": cuts}, addresses=[PARENT], port=port, signed=["test"]) as parent,
        running(
            there,
            dict.fromkeys(DOMAINS, '@ 300 TXT "site-verification=1"\n'),
            addresses=[FOREIGN, SECOND],
            port=port,
            signed=[SIGNED],
        ) as foreign,
        name_server() as (resolver, address),
    ):
        _knows_the_parent(resolver)
        yield Net(parent, foreign, address, there)


def _knows_the_parent(resolver: NameServer) -> None:
    resolver.add("test", "NS", "ns.nic.test.")
    resolver.add("ns.nic.test", "A", PARENT)


def open_of(watch: Watch, name: str) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in watch.state([name]).findings if one.standing == "open"]


def only(watch: Watch, name: str) -> FindingView:
    [one] = watch.state([name]).findings
    return one


def zone(net: Net, name: str) -> str:
    """All that the server has, as it prints it; the serial number is not looked at."""
    lines = knotc(net.foreign.socket, [f"zone-read {name}."]).splitlines()
    return "\n".join(sorted(line for line in lines if " SOA " not in line))


def test_what_is_ours_and_was_taken_away_is_seen_and_put_back(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="far")
    domain.add(site, "shop.test")
    net.put_all(site, "shop.test")
    watch = net.watch(site)
    assert watch.state().unlooked == 1
    assert watch.look().looked == 1
    assert (watch.state().findings, watch.state().unlooked) == ((), 0)
    before = zone(net, "shop.test")
    change(net.foreign, "shop.test", remove=["_dmarc.shop.test. TXT", "shop.test. MX"])
    net.now += 100
    watch.look(["shop.test"])
    assert open_of(watch, "shop.test") == [("mx-gone", "shop.test MX"), ("missing", "_dmarc.shop.test TXT")]
    assert "--repair" in watch.state().findings[0].todo
    assert zone(net, "shop.test") != before
    # Said first, and nothing done.
    would = watch.look(["shop.test"], repair=True, dry_run=True)
    assert (len(would.repaired), zone(net, "shop.test") != before) == (2, True)
    net.now += 100
    done = watch.look(["shop.test"], repair=True, who="op")
    assert (len(done.repaired), done.failed) == (2, [])
    assert zone(net, "shop.test") == before
    assert watch.state(["shop.test"]).open == 0
    assert {one.standing for one in watch.state(["shop.test"], over=True).findings} == {"repaired"}
    [note] = [one for one in audit.every(site) if one.verb == "domain drift repair"]
    assert (note.who, note.scope, len(note.detail["records"])) == ("op", "shop.test", 2)
    net.now += 100
    assert watch.look(["shop.test"], repair=True).repaired == []
    # With the domain goes what is kept of it.
    domain.remove(site, "shop.test", force=True)
    with site.database.session() as session:
        assert [session.scalar(select(func.count()).select_from(one)) for one in (DriftFinding, DriftLook)] == [0, 0]


def test_a_repair_may_be_unwanted_by_host_and_by_domain_and_is_given_up_where_somebody_insists(
    net: Net, tmp_path: Path
) -> None:
    site = net.site(tmp_path, target="far", repair=False)
    domain.add(site, "cafe.test")
    net.put_all(site, "cafe.test")
    watch = net.watch(site)

    def taken_away() -> list[str]:
        change(net.foreign, "cafe.test", remove=["_dmarc.cafe.test. TXT"])
        net.now += EVERY
        return watch.due().repaired

    watch.due()
    assert taken_away() == []
    domain_facts.change(site, "cafe.test", None, None, {"repair": "on"})
    for _ in range(3):
        net.now += EVERY
        assert len(watch.due().repaired) == 1
        change(net.foreign, "cafe.test", remove=["_dmarc.cafe.test. TXT"])
    net.now += EVERY
    assert watch.due().repaired == []
    assert "again and again" in only(watch, "cafe.test").todo


def test_a_second_spf_record_is_told_and_not_touched(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="far")
    domain.add(site, "bar.test")
    net.put_all(site, "bar.test")
    watch = net.watch(site)
    watch.look()
    change(net.foreign, "bar.test", add=['bar.test. 3600 TXT "v=spf1 ip4:198.51.100.9 ~all"'])
    before = zone(net, "bar.test")
    net.now += EVERY
    assert watch.due().repaired == []
    assert open_of(watch, "bar.test") == [("spf-two", "bar.test TXT")]
    assert "v=spf1 ip4:198.51.100.9 ~all" in only(watch, "bar.test").what
    assert zone(net, "bar.test") == before
    # By the operator's word the two become one, with every word of theirs.
    net.now += 100
    assert len(watch.look(repair=True).repaired) == 1
    assert "v=spf1 ip4:198.51.100.9 mx ~all" in zone(net, "bar.test")
    net.now += 100
    watch.look()
    assert watch.state().findings == ()
    # Our word taken out of a record that others write in is put in again, and theirs stays.
    change(
        net.foreign,
        "bar.test",
        remove=['bar.test. TXT "v=spf1 ip4:198.51.100.9 mx ~all"'],
        add=['bar.test. 3600 TXT "v=spf1 ip4:192.0.2.7 -all"'],
    )
    net.now += 100
    assert len(watch.look(repair=True).repaired) == 1
    assert "v=spf1 ip4:192.0.2.7 mx -all" in zone(net, "bar.test")


def test_a_key_that_somebody_altered_and_a_foreign_mx_are_told(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="far")
    domain.add(site, "pub.test")
    net.put_all(site, "pub.test")
    watch = net.watch(site)
    watch.look()
    key = domain.dkim(site, "pub.test")[1].record_name
    change(net.foreign, "pub.test", remove=[f"{key}. TXT"], add=[f'{key}. 3600 TXT "v=DKIM1; p="'])
    change(net.foreign, "pub.test", add=["pub.test. 3600 MX 5 mx.old.test."])
    before = zone(net, "pub.test")
    net.now += 100
    assert watch.look(repair=True).repaired == []
    assert open_of(watch, "pub.test") == [("mx-foreign", "pub.test MX"), ("changed", f"{key} TXT")]
    assert zone(net, "pub.test") == before
    assert watch.state().findings[0].what == "its mail goes elsewhere: MX 10 mail.host.test.; 5 mx.old.test."
    # The next look, and a change of something else in between, still know it.
    change(net.foreign, "pub.test", remove=["_dmarc.pub.test. TXT"])
    net.now += 100
    assert len(watch.look(repair=True).repaired) == 1
    net.now += 100
    watch.look(repair=True)
    assert open_of(watch, "pub.test") == [("mx-foreign", "pub.test MX"), ("changed", f"{key} TXT")]


def test_a_delegation_that_the_customer_took_back_and_an_mx_that_is_gone(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="manual", delegation="dns.host.test")
    domain.add(site, "inn.test")
    net.put_all(site, "inn.test")
    watch = net.watch(site)
    watch.look()
    assert watch.state().findings == ()
    change(net.foreign, "inn.test", remove=["_acme-challenge.inn.test. CNAME", "inn.test. MX"])
    net.now += 100
    assert watch.look(repair=True).repaired == []
    assert open_of(watch, "inn.test") == [
        ("mx-gone", "inn.test MX"),
        ("cname-removed", "_acme-challenge.inn.test CNAME"),
    ]
    assert {one.todo for one in watch.state().findings} >= {"have it set again: postane domain letter inn.test"}


def test_a_lame_server_and_a_domain_that_has_run_out(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="manual")
    domain.add(site, "den.test")
    net.put_all(site, "den.test")
    watch = net.watch(site)
    watch.look()
    change(net.parent, "test", remove=["ns2.den.test. A"], add=[f"ns2.den.test. 60 A {PARENT}"])
    net.now += 100
    watch.look()
    assert only(watch, "den.test").standing == "pending"
    watch.look()  # at once: that is not a second look
    assert only(watch, "den.test").standing == "pending"
    net.now += 100
    watch.look()
    assert open_of(watch, "den.test") == [("lame", "ns2.den.test")]
    # What it has in its zone cannot be known once the parent names nobody: nothing is told of it, and nothing mended.
    change(net.parent, "test", remove=["den.test. NS", "ns.den.test. A", "ns2.den.test. A"])
    for _ in range(2):
        net.now += 100
        assert watch.look(repair=True).repaired == []
    assert open_of(watch, "den.test") == [("expired", "")]
    change(net.parent, "test", add=["den.test. 60 NS ns.den.test.", f"ns.den.test. 60 A {FOREIGN}"])
    net.now += 100
    watch.look()
    assert watch.state().findings == ()
    assert {one.standing for one in watch.state(over=True).findings} == {"over"}


def test_a_chain_of_trust_that_is_broken(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="manual")
    domain.add(site, SIGNED)
    net.put_all(site, SIGNED)
    watch = net.watch(site)
    printed = subprocess.run(
        ["keymgr", "-c", str(net.folder / "knot.conf"), SIGNED, "ds"], capture_output=True, text=True, check=True
    ).stdout
    right = next(line.split("DS ")[1] for line in printed.splitlines() if " 13 2 " in line)
    change(net.parent, "test", add=[f"{SIGNED}. 60 DS {right}"])
    for _ in range(2):
        net.now += 100
        watch.look()
    assert watch.state().findings == ()
    change(net.parent, "test", remove=[f"{SIGNED}. DS"], add=[f"{SIGNED}. 60 DS {right[:-4]}0000"])
    for _ in range(2):
        net.now += 100
        watch.look()
    assert open_of(watch, SIGNED) == [("dnssec-broken", "")]
    assert "fits none of its keys" in only(watch, SIGNED).what


def test_what_is_not_hosted_and_what_is_not_watched(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path)
    watch = net.watch(site)
    with pytest.raises(NotFoundError):
        watch.look(["nobody.test"])
    with pytest.raises(NotFoundError):
        watch.state(["nobody.test"])
    domain.add(site, "shop.test")
    domain.set_active(site, "shop.test", False)
    with pytest.raises(ConflictError):
        watch.look(["shop.test"])
    assert watch.due().looked == 0


def test_the_timer_spreads_looks_tells_the_operator_once_and_shows_figures(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path, target="manual", alarm_to="op@elsewhere.example", alarm_language="tr")
    for name in ("shop.test", "cafe.test"):
        domain.add(site, name)
    net.put_all(site, "cafe.test")
    watch = net.watch(site)
    assert (watch.due(limit=1).looked, watch.due().looked, watch.due().looked) == (1, 1, 0)
    first = net.now
    moments = set()
    for _ in range(24):  # each at its own moment, and once in the interval
        net.now += EVERY / 24
        if looked := watch.due().looked:
            moments.add((net.now - first, looked))
    assert sum(looked for _, looked in moments) == 2
    change(net.foreign, "cafe.test", remove=["cafe.test. MX"])
    net.now += EVERY
    assert watch.due().told
    [mail] = _mails(site)
    assert "To: op@elsewhere.example" in mail
    assert "cafe.test: MX kayd" in mail
    net.now += 3600
    assert not watch.due().told
    assert len(_mails(site)) == 1
    change(net.foreign, "cafe.test", add=["cafe.test. 300 MX 10 mail.host.test."])
    net.now += 2 * EVERY
    assert not watch.due().told  # of one finding at most once a day
    net.now += 86_400
    assert watch.due().told
    assert len(_mails(site)) == 2
    figures = {(one.name, one.labels.get("kind", "")): one.value for one in metrics.shown(site.config, "drift")}
    assert figures["postane_drift_findings", "mx-gone"] == 0
    assert figures["postane_drift_domains", ""] == 2
    assert figures["postane_drift_looks", ""] >= 6
    assert figures["postane_drift_round_at", ""] == net.now


def _mails(site: Site) -> list[str]:
    """The texts that wait in the spool; they stay there."""

    async def read() -> list[str]:
        view = SpoolView(Path(site.config.state) / "spool", site.config.spool)
        try:
            return [b"".join(one.chunks()).decode() for one in view.poll()]
        finally:
            await view.close()

    return asyncio.run(read())


def test_a_certificate_that_ends_a_target_that_is_away_and_a_reverse_name(net: Net, tmp_path: Path) -> None:
    site = net.site(tmp_path)
    domain.add(site, "shop.test")
    domain_facts.change(site, "shop.test", "far", None, {})
    own = msgspec.structs.replace(site.config.dns.targets["far"], server="127.0.0.1:1", timeout=0.2)
    site.config = msgspec.structs.replace(
        site.config,
        dns=msgspec.structs.replace(site.config.dns, targets={"far": own}, addresses=("192.0.2.9",)),
        tls=Tls(certificate=str(tmp_path / "host.pem")),
    )
    (tmp_path / "host.pem").write_bytes(certificate(site.config.host, net.now + 3.5 * 86_400))
    watch = net.watch(site)
    for _ in range(3):
        assert watch.state().open < 3
        watch.look()
        net.now += 100
    found = {one.kind: one for one in watch.state().findings}
    assert set(found) == {"target-away", "reverse-wrong", "certificate-ending"}
    assert watch.state().open == 3
    assert (found["target-away"].domain, found["reverse-wrong"].domain) == ("shop.test", "mail.host.test")
    assert found["certificate-ending"].what == "the certificate mail.host.test ends in 3 days"


def certificate(name: str, until: float) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime.fromtimestamp(until - 86_400 * 90, UTC))
    signed = made.not_valid_after(datetime.fromtimestamp(until, UTC)).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def test_a_look_costs_twenty_questions_with_all_that_is_asked_of_resolvers(tmp_path: Path) -> None:
    """Counted by those who are asked: the parent, the domains' servers and the resolver."""
    names = [f"d{number}.test" for number in range(6)]
    site = Site(Config(host="mail.host.test", state=str(tmp_path), domains=Domains(spf="a")))
    site.database.upgrade()
    for name in names:
        domain.add(site, name)
    cuts = "\n".join(f"{name} 60 NS ns1.host.test.\n{name} 60 NS ns2.host.test." for name in names)
    glue = "ns1.host.test 60 A 127.0.0.3\nns2.host.test 60 A 127.0.0.4"
    servers = {
        "127.0.0.2": Server({"test": cuts}),
        "127.0.0.3": Server(dict.fromkeys(names, "")),
        "127.0.0.4": Server(dict.fromkeys(names, "")),
    }
    servers["127.0.0.2"].zones["test"] += [tuple(line.split(None, 3)) for line in glue.splitlines()]
    with loop_of_its_own() as run, name_server() as (resolver, address):
        port = run(serve(servers))
        resolver.add("test", "NS", "ns.nic.test.")
        resolver.add("ns.nic.test", "A", PARENT)
        for number in (1, 2):
            resolver.add(f"ns{number}.host.test", "A", f"127.0.0.{number + 2}")
        resolver.add("mail.host.test", "A", "192.0.2.1")
        site.config = msgspec.structs.replace(site.config, dns=Dns(nameservers=(address,), timeout=1))
        # As it should be, so that everything is asked that ever is.
        for one in domain_plan.plan(site, names, servers_port=port):
            assert one.plan is not None
            lines = [(record.name, "60", record.type, record.data) for record in one.plan.add]
            for at in ("127.0.0.3", "127.0.0.4"):
                servers[at].zones[one.domain] = [*lines]
        for server in servers.values():
            server.questions.clear()
        resolver.questions.clear()
        watch = Watch(site, lambda: 1_000_000.0, port)
        done = watch.look()
        assert (done.looked, watch.state().findings) == (6, ())
        asked = sum(len(server.questions) for server in servers.values())
        assert done.asked == asked
        assert asked <= 6 * 19  # one more where the domain is signed
        assert asked + len(resolver.questions) <= 6 * 20
        assert asked > 6 * 15
        run(_stopped(servers))


async def _stopped(servers: dict[str, Server]) -> None:
    stop(servers)


@contextmanager
def loop_of_its_own() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
