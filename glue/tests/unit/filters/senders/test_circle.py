"""Who may write to an address: each word, entries, and hosts."""

from __future__ import annotations

from typing import Any

import pytest

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.filters.senders.circle import Circle
from postane.filters.senders.entries import entries

MEMBERS = entries(("shop.test",))
TO = Address.parse("all@demo.test")


@pytest.mark.parametrize(
    ("who", "inside", "outside"),
    [
        ("domain", ["a@demo.test"], ["a@shop.test", "a@sub.demo.test", "a@far.test"]),
        ("members", ["a@demo.test", "a@shop.test"], ["a@far.test"]),
        (["far.test"], ["a@far.test"], ["a@demo.test", "a@shop.test"]),
        (["domain", "a@far.test"], ["a@demo.test", "a@far.test"], ["b@far.test", "a@shop.test"]),
        (["members", ".far.test"], ["a@x.far.test", "a@shop.test"], ["a@else.test"]),
        ([], [], ["a@demo.test"]),
    ],
)
def test_names(who: Any, inside: list[str], outside: list[str]) -> None:
    circle = Circle(who, MEMBERS)
    assert not circle.open
    assert all(circle.holds(Address.parse(name), TO) for name in inside)
    assert not any(circle.holds(Address.parse(name), TO) for name in outside)


def test_hosts() -> None:
    assert Circle("anyone", MEMBERS).holds_all_of("192.0.2.1")
    circle = Circle(["192.0.2.0/24", "domain"], MEMBERS)
    assert circle.holds_all_of("::ffff:192.0.2.9")
    assert not circle.holds_all_of("198.51.100.1")
    assert str(circle) == "192.0.2.0/24, domain"
    with pytest.raises(AddressError):
        Circle(["everybody"], MEMBERS)
