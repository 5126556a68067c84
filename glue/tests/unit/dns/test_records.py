"""What a hosted domain needs, and what has to change for its zone to have it."""

from __future__ import annotations

from typing import Any

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.config.model import Dns
from postane.core.errors import ConfigError
from postane.dns.records import Record, canonical, difference, owns, text_data, text_of, wanted, zone_file

HOST = "mail.demo.test"
SETTINGS = Dns(addresses=("192.0.2.1", "2001:DB8::0001"))
KEYS = [("p-rsa-1", "v=DKIM1; k=rsa; p=" + "A" * 392), ("p-ed25519-1", "v=DKIM1; k=ed25519; p=BBBB")]


def desired(domain: str = "demo.test", settings: Dns = SETTINGS) -> list[Record]:
    return wanted(domain, HOST, KEYS, settings)


def data(records: list[Record], name: str, kind: str) -> list[str]:
    return [record.data for record in records if (record.name, record.type) == (name, kind)]


def test_mail_of_a_domain_comes_to_the_host_and_from_nowhere_else() -> None:
    records = desired("example.org")
    assert data(records, "example.org", "MX") == ["10 mail.demo.test."]
    assert data(records, "example.org", "NS") == ["mail.demo.test."]
    assert data(records, "example.org", "TXT") == ['"v=spf1 mx -all"']
    assert data(records, "_dmarc.example.org", "TXT") == ['"v=DMARC1; p=none; rua=mailto:postmaster@example.org"']


def test_addresses_stand_in_the_zone_that_holds_the_host() -> None:
    records = desired()
    for name in ("mail.demo.test", "webmail.demo.test", "panel.demo.test"):
        assert data(records, name, "A") == ["192.0.2.1"]
        assert data(records, name, "AAAA") == ["2001:db8::1"]
    assert not [record for record in desired("example.org") if record.type in ("A", "AAAA")]
    assert not [record for record in desired("mo.test") if record.type in ("A", "AAAA")]


def test_a_long_key_is_cut_into_strings_that_join_again() -> None:
    (text,) = data(desired(), "p-rsa-1._domainkey.demo.test", "TXT")
    strings = text[1:-1].split('" "')
    assert max(map(len, strings)) == 255
    assert "".join(strings) == KEYS[0][1]


def test_named_name_servers_take_the_hosts_place() -> None:
    records = desired(settings=Dns(name_servers=("ns1.example.net", "ns2.example.net")))
    assert data(records, "demo.test", "NS") == ["ns1.example.net.", "ns2.example.net."]
    assert data(records, "demo.test", "SOA")[0].startswith("ns1.example.net. hostmaster.demo.test. ")


def test_a_bad_address_is_named() -> None:
    with pytest.raises(ConfigError, match="mail1"):
        desired(settings=Dns(addresses=("mail1",)))


def test_an_empty_zone_gets_everything_the_soa_first() -> None:
    plan = difference("demo.test", HOST, (), desired(), serial=7)
    assert len(plan.add) == len(desired())
    assert plan.add[0].type == "SOA"
    assert plan.add[0].data.split()[2] == "7"
    assert plan.remove == ()


def served() -> list[Record]:
    """A zone as Knot shows it some signatures later."""
    plan = difference("demo.test", HOST, (), desired(), serial=7)
    soa, *others = plan.add
    return [Record(soa.name, soa.type, soa.data.replace(" 7 ", " 4711 ")), *others]


def test_a_zone_that_is_right_is_left_alone_whatever_its_serial() -> None:
    signatures = [Record("demo.test", "RRSIG", "MX 13 2 3600 …"), Record("demo.test", "CDS", "1 13 2 AB", 0)]
    assert not difference("demo.test", HOST, [*served(), *signatures], desired(), serial=9)


def test_only_what_differs_changes() -> None:
    zone = served()
    old = Record("p-rsa-0._domainkey.demo.test", "TXT", '"v=DKIM1; k=rsa; p=OLD"')
    zone.append(old)
    missing = next(record for record in zone if record.type == "MX")
    zone.remove(missing)
    plan = difference("demo.test", HOST, zone, desired(), serial=9)
    assert plan.remove == (old,)
    assert plan.add == (missing,)


def test_a_changed_soa_keeps_the_servers_serial() -> None:
    zone = [Record(r.name, r.type, r.data.replace("hostmaster", "root")) if r.type == "SOA" else r for r in served()]
    plan = difference("demo.test", HOST, zone, desired(), serial=9)
    assert [record.type for record in plan.add] == ["SOA"]
    assert " 4711 " in plan.add[0].data


@pytest.mark.parametrize(
    "record",
    [
        Record("www.demo.test", "A", "198.51.100.7"),
        Record("demo.test", "A", "198.51.100.7"),
        Record("demo.test", "TXT", '"google-site-verification=x"'),
        Record("k1._domainkey.demo.test", "CNAME", "dkim.example.net."),
        Record("s1._domainkey.demo.test", "TXT", '"v=DKIM1; p=X"'),
        Record("sub.demo.test", "MX", "10 elsewhere.example."),
        Record("sub.demo.test", "NS", "ns.example."),
    ],
    ids=str,
)
def test_the_customers_records_stay(record: Record) -> None:
    assert not owns(record, "demo.test", HOST)
    assert not difference("demo.test", HOST, [*served(), record], desired(), serial=9)


def test_spf_takes_the_time_to_live_of_the_texts_beside_it() -> None:
    beside = Record("demo.test", "TXT", '"verification"', 60)
    (spf,) = [r for r in served() if r.data == '"v=spf1 mx -all"']
    zone = [beside, *(record for record in served() if record != spf)]
    (added,) = difference("demo.test", HOST, zone, desired(), serial=9).add
    assert added == Record("demo.test", "TXT", '"v=spf1 mx -all"', 60)


def test_the_zone_file_begins_with_the_soa() -> None:
    lines = zone_file(desired()).splitlines()
    assert lines[0].startswith("demo.test. 3600 IN SOA ")
    assert 'demo.test. 3600 IN TXT "v=spf1 mx -all"' in lines


@given(st.text(max_size=600))
def test_any_text_survives_as_txt_data(text: str) -> None:
    data = text_data(text)
    assert text_of(data) == text
    assert data.isascii()
    assert data.isprintable()
    rdata: Any = dns.rdata.from_text("IN", "TXT", data)  # as every name server reads it
    assert b"".join(rdata.strings) == text.encode()
    assert text_of(rdata.to_text()) == text


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("TXT", '"v=spf1 mx" " -all"', '"v=spf1 mx -all"'),
        ("TXT", "bare", '"bare"'),
        ("MX", "10  Mail.Host.test.", "10 mail.host.test."),
        ("TLSA", "3 1 1 AABB CC", "3 1 1 aabbcc"),
        ("CAA", '0 ISSUE "ca.test"', "0 issue ca.test"),
        ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
        ("SRV", "0 1 465 MAIL.host.test.", "0 1 465 mail.host.test."),
    ],
)
def test_records_that_say_the_same_are_the_same(kind: str, one: str, other: str) -> None:
    assert canonical(Record("a.test", kind, one, 1)) == canonical(Record("a.test", kind, other, 2))


def test_case_counts_in_texts() -> None:
    assert canonical(Record("a.test", "TXT", '"p=Ab"')) != canonical(Record("a.test", "TXT", '"p=aB"'))
