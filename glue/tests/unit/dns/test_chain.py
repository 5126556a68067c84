"""Chains of trust that hold, and the ways in which they break: keys and signatures are real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dns.dnssec
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from postane.dns.chain import fault
from postane.dns.records import Record

ZONE = "shop.test"
NAME = dns.name.from_text(ZONE)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def dnskey(key: ec.EllipticCurvePrivateKey) -> DNSKEY:
    return dns.dnssec.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)


def vouched(key: ec.EllipticCurvePrivateKey, digest: str = "SHA256", data: str = "") -> Record:
    made = data or dns.dnssec.make_ds(NAME, dnskey(key), digest).to_text()
    return Record(ZONE, "DS", made)


def answer(
    *keys: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey | None = KEY,
    until: datetime = NOW + timedelta(days=7),
) -> dns.message.Message:
    response = dns.message.make_response(dns.message.make_query(NAME, "DNSKEY", want_dnssec=True))
    if not keys:
        return dns.message.from_wire(response.to_wire())
    rrset = dns.rrset.from_rdata_list(NAME, 60, [dnskey(key) for key in keys])
    response.answer.append(rrset)
    if signer is not None:
        signed = dns.dnssec.sign(
            rrset, signer, NAME, dnskey(signer), inception=until - timedelta(days=14), expiration=until
        )
        response.answer.append(dns.rrset.from_rdata(NAME, 60, signed))
    return dns.message.from_wire(response.to_wire())


def test_a_chain_that_holds() -> None:
    assert fault(ZONE, [vouched(KEY)], answer(KEY), NOW.timestamp()) == ""
    assert fault(ZONE, [vouched(KEY, "SHA384")], answer(KEY, OTHER), NOW.timestamp()) == ""
    # A key that is to come, or one that has gone, beside the one in use (RFC 6781 section 4.1.2).
    assert fault(ZONE, [vouched(OTHER), vouched(KEY)], answer(KEY), NOW.timestamp()) == ""


def test_what_no_validator_knows_is_as_good_as_unsigned() -> None:
    assert (
        fault(ZONE, [vouched(KEY, data="1 13 200 AABB"), vouched(KEY, data="1 250 2 " + "AA" * 32)], answer(), 0) == ""
    )


@pytest.mark.parametrize(
    ("records", "response", "words"),
    [
        ([vouched(KEY)], answer(), "it has no keys"),
        ([vouched(OTHER)], answer(KEY), "fits none of its keys"),
        ([vouched(KEY)], answer(KEY, signer=None), "its keys are not signed"),
        ([vouched(KEY)], answer(KEY, OTHER, signer=OTHER), "does not hold"),  # not by the key that is vouched for
        ([vouched(KEY)], answer(KEY, until=NOW - timedelta(hours=1)), "does not hold"),  # has run out
        ([vouched(KEY)], answer(KEY, until=NOW + timedelta(days=30)), "does not hold"),  # is of tomorrow
    ],
)
def test_chains_that_break(records: list[Record], response: dns.message.Message, words: str) -> None:
    assert words in fault(ZONE, records, response, NOW.timestamp())


def test_a_digest_that_is_one_octet_off() -> None:
    right = vouched(KEY).data
    wrong = right[:-2] + ("01" if right.endswith("00") else "00")
    assert "fits none" in fault(ZONE, [vouched(KEY, data=wrong)], answer(KEY), NOW.timestamp())
