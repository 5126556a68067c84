"""Which network stands for a peer."""

from __future__ import annotations

import pytest

from postane.filters.pace.net import neighbourhood, networks, unit, within


@pytest.mark.parametrize(
    ("ip", "one", "beside"),
    [
        ("192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/64"),
    ],
)
def test_units(ip: str, one: str, beside: str) -> None:
    assert (unit(ip), neighbourhood(ip)) == (one, beside)


def test_within() -> None:
    nets = networks(["127.0.0.0/8", "2001:db8::/32"])
    assert within("127.9.9.9", nets)
    assert within("2001:db8::1", nets)
    assert not within("192.0.2.1", nets)
    with pytest.raises(ValueError, match="192"):
        networks(["192.0.2.1/24"])
