"""RFC 8601 section 3, and the limit on names that it asks for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from postane.filters.auth.iprev import Result, Reverse, iprev
from support.zone import Zone

IP4, IP6 = "192.0.2.3", "2001:db8::3"
R4, R6 = ip_address(IP4).reverse_pointer, ip_address(IP6).reverse_pointer


def check(zone: str | Zone, ip: str = IP4) -> Reverse:
    world = zone if isinstance(zone, Zone) else Zone(zone)
    return world.decide(iprev(ip_address(ip)))


@pytest.mark.parametrize(
    ("zone", "ip", "result", "name"),
    [
        (f"{R4} PTR a.example\na.example A {IP4}", IP4, "pass", "a.example"),
        (f"{R4} PTR a.example\na.example A 192.0.2.9\na.example A {IP4}", IP4, "pass", "a.example"),
        (f"{R4} PTR a.example\na.example A {IP4}", f"::ffff:{IP4}", "pass", "a.example"),
        (f"{R6} PTR a.example\na.example AAAA {IP6}", IP6, "pass", "a.example"),
        (f"{R6} PTR a.example\na.example AAAA 2001:0db8::0003", IP6, "pass", "a.example"),
        (f"{R4} PTR a.example\n{R4} PTR b.example\nb.example A {IP4}", IP4, "pass", "b.example"),
        # A failure does not hide a name that passes, and is no fail.
        (f"{R4} PTR a.example\n{R4} PTR b.example\na.example FAIL\nb.example A {IP4}", IP4, "pass", "b.example"),
        (
            f"{R4} PTR a.example\n{R4} PTR b.example\na.example FAIL\nb.example A 192.0.2.9",
            IP4,
            "temperror",
            "a.example",
        ),
        (f"{R4} PTR a.example\na.example A 192.0.2.9", IP4, "fail", "a.example"),
        (f"{R4} PTR a.example\na.example AAAA {IP6}", IP4, "fail", "a.example"),
        (f"{R6} PTR a.example\na.example A {IP4}", IP6, "fail", "a.example"),
        (f"{R4} PTR gone.example", IP4, "fail", "gone.example"),
        (f"{R4} FAIL", IP4, "temperror", ""),
        (f"{R4} TXT no name", IP4, "permerror", ""),
        ("", IP4, "permerror", ""),
        ("", IP6, "permerror", ""),
        ("", "fe80::1%eth0", "permerror", ""),
    ],
)
def test_results(zone: str, ip: str, result: str, name: str) -> None:
    found = check(zone, ip)
    assert (found.result, found.name) == (result, name)
    assert bool(found.reason) == (result != "pass")


def test_ten_names_at_most() -> None:
    zone = Zone("")
    for at in range(11):
        zone.add(R4, "PTR", f"n{at}.example")
    zone.add("n10.example", "A", IP4)
    assert check(zone).result is Result.FAIL
    assert len(zone.questions) == 11
    zone.add("n9.example", "A", IP4)
    assert check(zone) == Reverse(Result.PASS, "n9.example")


def test_one_name_is_enough() -> None:
    zone = Zone(f"{R4} PTR a.example\n{R4} PTR b.example\na.example A {IP4}")
    check(zone)
    assert len(zone.questions) == 2
