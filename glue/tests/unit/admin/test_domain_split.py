"""Addresses that are still at the host that a domain comes from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from postane.admin import account, alias, audit, domain, domain_split
from postane.admin.domain_life import Desk
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config
from postane.core.errors import ConflictError, UsageError
from postane.domains.life import OldMx

D = "moving.test"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(Config(host="h.test", state=str(tmp_path)))
    made.database.upgrade()
    domain.add(made, D)
    return made


def remember(site: Site, *hosts: str) -> None:
    with site.database.change() as session:
        hosted_domain(session, D).old_mx = msgspec.json.encode(OldMx(hosts)).decode()


def test_what_is_listed_and_what_is_not(site: Site) -> None:
    with pytest.raises(ConflictError, match="no earlier MX"):
        domain_split.change(site, D, [f"a@{D}"])
    remember(site, "mx.old.test")
    done = domain_split.change(site, D, [f"A@{D}", f"b@{D}", f"a@{D}"], who="op")
    assert (done.changed, done.item.hosts, done.item.addresses) == (True, ("mx.old.test",), (f"a@{D}", f"b@{D}"))
    assert not domain_split.change(site, D, [f"a@{D}"], [f"c@{D}"]).changed
    assert Desk(site).show(D).elsewhere == 2
    assert [one.elsewhere for one in Desk(site).every()] == [2]
    assert domain_split.change(site, D, (), [f"b@{D}"]).item.addresses == (f"a@{D}",)
    assert [one.detail for one in audit.every(site, D)[1:]] == [{"added": 2, "removed": 0}, {"added": 0, "removed": 1}]

    # A mailbox that has been moved is here.
    account.add(site, f"a@{D}", "password-a")
    alias.put(site, f"sales@{D}", [f"a@{D}"])
    assert domain_split.change(site, D).item.addresses == ()
    for here in (f"a@{D}", f"sales@{D}"):
        with pytest.raises(ConflictError, match="is here"):
            domain_split.change(site, D, [here])
    with pytest.raises(UsageError, match="no address of"):
        domain_split.change(site, D, ["a@other.test"])


def test_a_claim_lists_nothing_and_the_list_goes_with_the_domain(site: Site) -> None:
    Desk(site).claim("claimed.test", "shop")
    with pytest.raises(ConflictError, match="only claimed"):
        domain_split.change(site, "claimed.test", ["a@claimed.test"])
    remember(site, "mx.old.test")
    domain_split.change(site, D, [f"a@{D}"])
    domain.remove(site, D)
    domain.add(site, D)
    assert domain_split.change(site, D).item.addresses == ()
