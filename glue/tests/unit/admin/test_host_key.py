"""The host's TLSA records from files, rows and what the resolver says, up to the word on the next key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from postane.admin import domain, domain_facts, domain_plan, host_key
from postane.admin.site import Site
from postane.config.model import Config, Dns, Domains, Tls
from postane.core.errors import TemporaryError
from postane.dns.records import Record
from postane.domains.kinds import Kind
from postane.domains.plan import Action, Owned
from postane.domains.rollover import Keys
from postane.storage.schema import Domain, OwnedRecord
from support.dns import NameServer, name_server
from support.knot import KNOTD, running

HOST, D = "mail.host.test", "host.test"
TLSA = f"_25._tcp.{HOST}"


def certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=9))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def resolver() -> Iterator[tuple[NameServer, str]]:
    with name_server() as found:
        yield found


def site_of(folder: Path, nameserver: str, *, socket: str = "", ttl: int = 3600) -> Site:
    tls = Tls(certificate=str(folder / "fullchain.pem"), key=str(folder / "privkey.pem"))
    dns = Dns(nameservers=(nameserver,), timeout=1, knot_socket=socket, publish="knot" if socket else "none")
    site = Site(Config(host=HOST, state=str(folder), tls=tls, dns=dns, domains=Domains(ttl=ttl)))
    site.database.upgrade()
    domain.add(site, D)
    return site


def announce(site: Site, data: str, at: float) -> None:
    with site.database.change() as session:
        row = session.scalars(select(Domain).where(Domain.name == D)).one()
        domain_facts.save_owned(session, row.id, "knot", [Owned(Record(TLSA, "TLSA", data), Kind.TLSA)], TLSA)
        for one in session.scalars(select(OwnedRecord).where(OwnedRecord.data == data)):
            one.made_at = at


def test_the_word_on_the_next_key(tmp_path: Path, resolver: tuple[NameServer, str]) -> None:
    server, address = resolver
    old, new = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    site = site_of(tmp_path, address)
    assert host_key.keys_of(site) == Keys()
    assert "cannot be read" in host_key.rollover(site).why
    (tmp_path / "fullchain.pem").write_bytes(certificate(old))
    assert host_key.rollover(site).why == "there is no next key"
    (tmp_path / "next.pem").write_bytes(public(new))
    keys = host_key.keys_of(site)
    assert keys.serves != keys.follows
    # Nothing stands, nobody checks.
    assert host_key.rollover(site).may_switch
    server.add(TLSA, "TLSA", keys.serves)
    found = host_key.rollover(site)
    assert (found.may_switch, found.why) == (False, "the next key's record does not stand: postane domain apply")
    server.add(TLSA, "TLSA", keys.follows)
    assert "by hand" in host_key.rollover(site).why
    assert not host_key.rollover(site, time.time() - 60).may_switch
    assert host_key.rollover(site, time.time() - 3 * 3600).may_switch
    announce(site, keys.follows, time.time() - 3600)
    found = host_key.rollover(site)
    assert not found.may_switch
    assert 0 < found.at - time.time() <= 3600
    announce(site, keys.follows, time.time() - 7201)
    assert host_key.rollover(site).may_switch
    # What was announced, and is gone, is not there.
    server.records.pop((TLSA, "TLSA"))
    assert not host_key.rollover(site).may_switch
    server.faults[TLSA] = None
    with pytest.raises(TemporaryError, match="not known which TLSA records stand"):
        host_key.rollover(site)


@pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")
def test_the_plan_shows_a_change_of_key_from_its_beginning_to_its_end(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, resolver: tuple[NameServer, str]
) -> None:
    server, address = resolver
    server.add("", "NS", "root.invalid.")
    old, new = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "fullchain.pem").write_bytes(certificate(old))
    with running(tmp_path_factory.mktemp("knot")) as knot:
        site = site_of(tmp_path, address, socket=knot.socket, ttl=1)

        def lines() -> dict[str, tuple[Action, str]]:
            [found] = domain_plan.plan(site, [D])
            assert found.plan is not None
            of_kind = [line for line in found.plan.lines if line.kind is Kind.TLSA]
            return {
                (line.record or line.replaces[0]).data.replace(" ", "")[3:].lower(): (line.action, line.reason)
                for line in of_kind
            }

        def apply() -> None:
            [done] = domain_plan.apply(site, domain_plan.plan(site, [D]))
            assert done.error is None

        first = host_key.keys_of(site).serves.replace(" ", "")[3:]
        assert lines() == {first: (Action.ADD, "senders check our certificate with it")}
        apply()
        (tmp_path / "next.pem").write_bytes(public(new))
        next_one = host_key.keys_of(site).follows.replace(" ", "")[3:]
        assert lines()[next_one] == (Action.ADD, "the next key: announced 1 min before it serves")
        assert lines()[first][0] is Action.KEEP
        apply()
        assert (
            lines()[next_one] == (Action.KEEP, "the next key: may serve in 1 min")
            or "may serve now" in (lines()[next_one][1])
        )
        (tmp_path / "fullchain.pem").write_bytes(certificate(new))
        (tmp_path / "next.pem").unlink()
        assert lines()[next_one] == (Action.KEEP, "senders check our certificate with it")
        action, reason = lines()[first]
        assert action is Action.REMOVE or reason.startswith("the key before: stays")
        # A certificate that cannot be read takes nothing away.
        (tmp_path / "fullchain.pem").rename(tmp_path / "away")
        assert {action for action, _ in lines().values()} == {Action.KEEP}
        (tmp_path / "away").rename(tmp_path / "fullchain.pem")
        deadline = time.monotonic() + 10
        while lines()[first][0] is not Action.REMOVE:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        apply()
        assert set(lines()) == {next_one}
