"""What a HELO name is: RFC 5321 sections 4.1.1.1, 4.1.3 and 4.1.4."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from postane.filters.auth.helo import Fact, Helo, look_at
from support.zone import Zone

OWN_NAMES = ("mx.ours.example", "ours.example")
OWN_ADDRESSES = ("198.51.100.1", "2001:db8:1::1")


def check(said: str, zone: str | Zone = "", ip: str = "192.0.2.3") -> Helo:
    world = zone if isinstance(zone, Zone) else Zone(zone)
    return world.decide(look_at(said, ip_address(ip), OWN_NAMES, OWN_ADDRESSES))


@pytest.mark.parametrize(
    ("said", "zone", "ip", "fact"),
    [
        ("h.example", "h.example A 192.0.2.3", "192.0.2.3", "confirmed"),
        ("H.Example.", "h.example A 192.0.2.9\nh.example A 192.0.2.3", "192.0.2.3", "confirmed"),
        ("h.example", "h.example A 192.0.2.3", "::ffff:192.0.2.3", "confirmed"),
        ("h.example", "h.example AAAA 2001:db8::3", "2001:db8::3", "confirmed"),
        ("win_host.example", "win_host.example A 192.0.2.3", "192.0.2.3", "confirmed"),
        ("münchen.example", "xn--mnchen-3ya.example A 192.0.2.3", "192.0.2.3", "confirmed"),
        ("h.example", "h.example A 192.0.2.9", "192.0.2.3", "elsewhere"),
        ("h.example", "h.example AAAA 2001:db8::3", "192.0.2.3", "elsewhere"),
        ("h.example", "h.example A 192.0.2.3", "2001:db8::3", "elsewhere"),
        ("h.example", "h.example MX 10 m.example", "192.0.2.3", "elsewhere"),
        ("h.example", "h.example MX 0 .", "192.0.2.3", "no_such_name"),
        ("h.example", "h.example TXT text", "192.0.2.3", "no_such_name"),
        ("h.example", "", "192.0.2.3", "no_such_name"),
        ("h.example", "h.example FAIL", "192.0.2.3", "unknown"),
        ("h.example", "h.example TXT text\nh.example FAIL AAAA", "192.0.2.3", "unknown"),
        ("h.example", "h.example TXT text\nh.example FAIL MX", "192.0.2.3", "unknown"),
        ("localhost", "", "192.0.2.3", "unqualified"),
        ("WIN-7F3K2", "", "192.0.2.3", "unqualified"),
        ("192.0.2.3", "", "192.0.2.3", "unqualified"),
        ("[192.0.2.3]", "", "192.0.2.3", "confirmed"),
        ("[192.0.2.3]", "", "::ffff:192.0.2.3", "confirmed"),
        ("[IPv6:2001:db8::3]", "", "2001:db8::3", "confirmed"),
        ("[ipv6:2001:DB8::0003]", "", "2001:db8::3", "confirmed"),
        ("[2001:db8::3]", "", "2001:db8::3", "confirmed"),
        ("[192.0.2.9]", "", "192.0.2.3", "false_literal"),
        ("[IPv6:2001:db8::9]", "", "192.0.2.3", "false_literal"),
        ("[198.51.100.1]", "", "192.0.2.3", "ours"),
        ("[IPv6:2001:db8:1::1]", "", "192.0.2.3", "ours"),
        ("mx.ours.example", "mx.ours.example A 198.51.100.1", "192.0.2.3", "ours"),
        ("OURS.example.", "", "192.0.2.3", "ours"),
        ("mx.ours.example", "mx.ours.example A 198.51.100.1", "198.51.100.1", "confirmed"),
        ("mx.ours.example", "mx.ours.example A 198.51.100.1", "127.0.0.1", "elsewhere"),
        ("", "", "192.0.2.3", "malformed"),
        (".", "", "192.0.2.3", "malformed"),
        ("a..example", "", "192.0.2.3", "malformed"),
        (".example", "", "192.0.2.3", "malformed"),
        ("a b.example", "", "192.0.2.3", "malformed"),
        ("a@b.example", "", "192.0.2.3", "malformed"),
        ("-a.example", "", "192.0.2.3", "malformed"),
        ("a-.example", "", "192.0.2.3", "malformed"),
        ("a" * 64 + ".example", "", "192.0.2.3", "malformed"),
        (".".join(["a" * 60] * 5), "", "192.0.2.3", "malformed"),
        ("[192.0.2]", "", "192.0.2.3", "malformed"),
        ("[IPv6:192.0.2.3]", "", "192.0.2.3", "malformed"),
        ("[fe80::1%eth0]", "", "fe80::1", "malformed"),
        ("[192.0.2.3", "", "192.0.2.3", "malformed"),
        ("2001:db8::3", "", "2001:db8::3", "malformed"),
        ("\udc80.example", "", "192.0.2.3", "malformed"),
    ],
)
def test_facts(said: str, zone: str, ip: str, fact: str) -> None:
    found = check(said, zone, ip)
    assert found.fact == fact
    assert bool(found.reason) == (fact != "confirmed")


def test_what_is_decided_by_itself_asks_nothing() -> None:
    zone = Zone("")
    for said in ("localhost", "[192.0.2.9]", "mx.ours.example", "a..example"):
        check(said, zone)
    assert zone.questions == []


def test_a_name_that_does_not_exist_is_asked_for_once() -> None:
    zone = Zone("")
    assert check("h.example", zone) == Helo(
        Fact.NO_SUCH_NAME, "h.example", "h.example has neither an address nor an MX"
    )
    assert len(zone.questions) == 1
