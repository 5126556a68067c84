"""The names that lists are asked for."""

from __future__ import annotations

from random import Random

import pytest

from postane.filters.blocklists import names
from postane.filters.blocklists.names import Points, client, control, domain, is_inside, reverse


def test_addresses_as_in_the_standard() -> None:
    assert reverse(client("192.0.2.99")) == "99.2.0.192"
    assert reverse(client("2001:db8:1:2:3:4:567:89ab")) == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"  # RFC 5782 section 2.4
    )
    assert client("::ffff:192.0.2.99") == client("192.0.2.99")
    assert names.kind_of(client("::ffff:192.0.2.99")) == "ipv4"
    assert str(client("fe80::1%eth0")) == "fe80::1"


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("10.1.2.3", True),
        ("127.0.0.2", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("100.64.0.1", True),
        ("192.168.1.1", True),
        ("169.254.1.1", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("fd00::1", True),
        ("fe80::1", True),
        ("2001:4860:4860::8888", False),
        ("8.8.8.8", False),
    ],
)
def test_what_is_nobodys_is_inside(text: str, inside: bool) -> None:
    assert is_inside(client(text)) is inside


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("çay.example", "xn--ay-3ia.example"),
        ("", ""),
        ("localhost", ""),
        ("[192.0.2.1]", ""),
        ("192.0.2.1", ""),
        ("a..b", ""),
        (".".join(["a" * 60] * 5), ""),
    ],
)
def test_domains_that_are_asked_for(text: str, name: str) -> None:
    assert domain(text) == name


def test_points_are_those_of_the_standard_unless_others_are_given() -> None:
    assert names.points("ipv4") == Points("2.0.0.127", "1.0.0.127")
    v6 = ".f.f.f.f" + ".0" * 20
    assert names.points("ipv6") == Points(f"2.0.0.0.0.0.f.7{v6}", f"1.0.0.0.0.0.f.7{v6}")
    assert names.points("domain") == Points("test", "invalid")
    assert names.points("ipv4", "127.0.0.9", "192.0.2.1") == Points("9.0.0.127", "1.2.0.192")
    assert names.points("domain", "dbltest.com", "example.com") == Points("dbltest.com", "example.com")
    with pytest.raises(ValueError, match="dbltest"):
        names.points("ipv4", "dbltest.com")


def test_controls_are_never_the_same_and_nobodys() -> None:
    draw = Random(5).randrange
    for kind, tail in [("ipv4", ".127"), ("ipv6", ".f.7.f.f.f.f" + ".0" * 20), ("domain", ".invalid")]:
        drawn = {control(kind, draw) for _ in range(200)}  # type: ignore[arg-type]
        assert len(drawn) == 200
        assert all(name.endswith(tail) for name in drawn)
        assert not any(name.endswith(".0.127") for name in drawn)
    assert all(name.count(".") == 31 for name in (control("ipv6", draw) for _ in range(50)))
