"""What a domain's records should be, from facts."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from postane.domains.desired import Facts, Service, delegated, desired, tlsa_data, with_foreign_mx
from postane.domains.kinds import ALL, Kind

FACTS = Facts(
    domain="shop.test",
    host="mail.host.test",
    keys=(("p-rsa-1", "v=DKIM1; k=rsa; p=" + "A" * 392), ("p-ed25519-1", "v=DKIM1; k=ed25519; p=BB")),
    addresses=("192.0.2.1", "2001:DB8::1"),
    mta_sts_id="20260101T000000",
    tlsa=(("3 1 1 " + "ab" * 32, "senders check our certificate with it"),),
    token="t0k",
)


def lines(facts: Facts) -> list[str]:
    return [f"{one.kind} {one.record.name} {one.record.type} {one.record.data}" for one in desired(facts)]


def test_a_domain_that_has_been_cut_over_has_all() -> None:
    assert lines(FACTS) == [
        "mx shop.test MX 10 mail.host.test.",
        'spf shop.test TXT "v=spf1 mx -all"',
        'dkim p-rsa-1._domainkey.shop.test TXT "v=DKIM1; k=rsa; p=' + "A" * 237 + '" "' + "A" * 155 + '"',
        'dkim p-ed25519-1._domainkey.shop.test TXT "v=DKIM1; k=ed25519; p=BB"',
        'dmarc _dmarc.shop.test TXT "v=DMARC1; p=none; rua=mailto:postmaster@shop.test"',
        'mta_sts _mta-sts.shop.test TXT "v=STSv1; id=20260101T000000;"',
        "mta_sts mta-sts.shop.test CNAME mail.host.test.",
        'tls_rpt _smtp._tls.shop.test TXT "v=TLSRPTv1; rua=mailto:postmaster@shop.test"',
        "autoconfig autoconfig.shop.test CNAME mail.host.test.",
        "autodiscover autodiscover.shop.test CNAME mail.host.test.",
        "srv _submissions._tcp.shop.test SRV 0 1 465 mail.host.test.",
        "srv _submission._tcp.shop.test SRV 10 1 587 mail.host.test.",
        "srv _imaps._tcp.shop.test SRV 0 1 993 mail.host.test.",
        "srv _pop3s._tcp.shop.test SRV 10 1 995 mail.host.test.",
        "srv _sieve._tcp.shop.test SRV 0 1 4190 mail.host.test.",
        'caa shop.test CAA 0 issue "letsencrypt.org"',
        'verification _postane-challenge.shop.test TXT "postane-verification=t0k"',
    ]
    assert all(one.reason and one.record.ttl == 3600 for one in desired(FACTS))


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("claimed", {Kind.VERIFICATION}),
        ("verified", {Kind.VERIFICATION}),
        ("shadow", {Kind.VERIFICATION, Kind.SPF, Kind.DKIM, Kind.CAA}),
        ("removed", set()),
    ],
)
def test_before_the_cutover_little_is_due(state: str, kinds: set[Kind]) -> None:
    assert {one.kind for one in desired(replace(FACTS, state=state))} == kinds


def test_the_operator_chooses_the_kinds() -> None:
    assert {one.kind for one in desired(replace(FACTS, kinds=frozenset({Kind.MX, Kind.SRV})))} == {Kind.MX, Kind.SRV}


def test_what_is_switched_off_is_not_wanted() -> None:
    facts = replace(FACTS, mta_sts="off", token="", tlsa=())
    assert not {Kind.MTA_STS, Kind.VERIFICATION, Kind.TLSA} & {one.kind for one in desired(facts)}
    assert Kind.MTA_STS not in {one.kind for one in desired(replace(FACTS, mta_sts_id=""))}


def test_the_hosts_own_domain_has_its_addresses_and_tlsa() -> None:
    found = lines(replace(FACTS, domain="host.test"))
    assert "tlsa _25._tcp.mail.host.test TLSA 3 1 1 " + "ab" * 32 in found
    assert [line for line in found if line.startswith("address")] == [
        f"address {name}.host.test {kind}"
        for name in ("mail", "webmail", "panel")
        for kind in ("A 192.0.2.1", "AAAA 2001:db8::1")
    ]


@pytest.mark.parametrize(
    ("spf", "state", "term", "equal"),
    [
        ("mx", "cutover", "mx", "a:mail.host.test"),
        ("mx", "shadow", "a:mail.host.test", None),  # the MX is still another's
        ("a", "hardened", "a:mail.host.test", "mx"),
        ("include:_spf.host.test", "shadow", "include:_spf.host.test", None),
        ("ip", "cutover", "ip4:192.0.2.1 ip6:2001:db8::1", "mx"),
    ],
)
def test_how_our_servers_are_named_in_spf(spf: str, state: str, term: str, equal: str | None) -> None:
    facts = replace(FACTS, spf=spf, state=state)
    [ours] = [one.ours for one in desired(facts) if one.ours]
    if state != "shadow":
        foreign = next(one.ours for one in with_foreign_mx(desired(facts), facts) if one.ours)
        assert "mx" not in (foreign.term, *foreign.equal)
    assert ours.term == term
    assert (equal in ours.equal) if equal else ours.equal == ()


def test_with_delegation_names_lead_into_our_zone_and_are_there() -> None:
    facts = replace(FACTS, delegation="dns.host.test", kinds=ALL - {Kind.SRV})
    aliases = {one.record.name: one.record.data for one in desired(facts) if one.record.type == "CNAME"}
    assert aliases == {
        "p-rsa-1._domainkey.shop.test": "p-rsa-1._domainkey.shop.test.dns.host.test.",
        "p-ed25519-1._domainkey.shop.test": "p-ed25519-1._domainkey.shop.test.dns.host.test.",
        "_dmarc.shop.test": "_dmarc.shop.test.dns.host.test.",
        "_mta-sts.shop.test": "_mta-sts.shop.test.dns.host.test.",
        "_acme-challenge.shop.test": "_acme-challenge.shop.test.dns.host.test.",
        "mta-sts.shop.test": "mail.host.test.",
        "autoconfig.shop.test": "mail.host.test.",
        "autodiscover.shop.test": "mail.host.test.",
    }
    behind = {one.record.name: one.record.data for one in delegated(facts)}
    assert behind == {
        f"{name}.dns.host.test": next(one.record.data for one in desired(FACTS) if one.record.name == name)
        for name in (
            "p-rsa-1._domainkey.shop.test",
            "p-ed25519-1._domainkey.shop.test",
            "_dmarc.shop.test",
            "_mta-sts.shop.test",
        )
    }
    assert delegated(FACTS) == []


def test_what_clients_are_told_is_taken_as_it_is() -> None:
    services = (
        Service("_imaps._tcp", 1993, 0, 5),
        Service("_pop3s._tcp", 0),
        Service("_autodiscover._tcp", 443, 0, 1, "p.test"),
    )
    found = lines(replace(FACTS, kinds=frozenset({Kind.SRV, Kind.PACC}), services=services, pacc="v=PACC0"))
    assert found[:3] == [
        "srv _imaps._tcp.shop.test SRV 0 5 1993 mail.host.test.",
        "srv _pop3s._tcp.shop.test SRV 0 0 0 .",
        "srv _autodiscover._tcp.shop.test SRV 0 1 443 p.test.",
    ]
    assert [line.split()[2] for line in found[3:]] == ["CNAME", "TXT"]


def test_reverse_names_are_told_where_they_are_not_right() -> None:
    reverse = (("192.0.2.1", ("mail.host.test",)), ("192.0.2.2", ("old.test",)), ("2001:db8::1", ()), ("::2", None))
    found = [one for one in desired(replace(FACTS, reverse=reverse)) if one.kind is Kind.REVERSE]
    assert [one.told for one in found] == [True] * 3
    assert found[0].reason.startswith("the reverse name of 192.0.2.2 is old.test:")
    assert "is missing" in found[1].reason
    assert "not known" in found[2].reason
    assert found[0].record.name == "2.2.0.192.in-addr.arpa"


def test_a_tlsa_record_is_made_from_the_certificate() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.host.test")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert tlsa_data(certificate.public_bytes(Encoding.PEM)) == f"3 1 1 {hashlib.sha256(spki).hexdigest()}"
    with pytest.raises(ValueError, match="PEM"):
        tlsa_data(b"no certificate")
