from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from postane.core.errors import TemporaryError
from postane.delivery.mx import MailHost, OwnHost, RefusedError, find
from postane.delivery.old_hosts import OldHosts


class Dns:
    """Today the domain's mail comes here."""

    async def mail_hosts(self, domain: str) -> Sequence[MailHost]:
        raise AssertionError("the MX of today is not asked for")

    async def addresses(self, host: str, *, ipv6: bool = True) -> Sequence[str]:
        return {
            "mx.old.test": ["192.0.2.1"],
            "mx2.old.test": ["192.0.2.2"],
            "other-name-of-ours.test": ["198.51.100.1"],
        }[host]


def targets(*remembered: str) -> list[str]:
    async def hosts(domain: str) -> Sequence[str]:
        assert domain == "moving.test"
        return remembered

    ours = OwnHost({"ours.test"}, {"198.51.100.1"})
    found = asyncio.run(find("moving.test", OldHosts(Dns(), hosts, ours), ours, Random(1), ipv6=False))
    return [one.address for one in found]


def test_the_servers_of_before_in_their_order() -> None:
    assert targets("mx.old.test", "mx2.old.test") == ["192.0.2.1", "192.0.2.2"]


def test_nothing_comes_back_to_us() -> None:
    assert targets("mx.old.test", "ours.test") == ["192.0.2.1"] == targets("ours.test", "mx.old.test")
    with pytest.raises(RefusedError):
        targets("other-name-of-ours.test")
    with pytest.raises(TemporaryError):
        targets("ours.test")


def test_without_any_the_mail_waits() -> None:
    with pytest.raises(TemporaryError, match="no earlier MX"):
        targets()
