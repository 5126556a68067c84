"""What a domain's stage of life makes of its addresses and of its people's logins, asked of a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from postane.admin import account, alias, domain, domain_split
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config
from postane.core.address import Address
from postane.core.ports import Resolved
from postane.directory.lookup import Lookup
from postane.storage.place import url_of
from postane.storage.reader import open_reader

WORD = "password-a"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(Config(host="mail.host.test", state=str(tmp_path_factory.mktemp("life"))))
    made.database.upgrade()
    # The oldest account of all is at the domain whose stage changes.
    for name, tenant in (("moving.test", "bakery"), ("own.test", "bakery"), ("other.test", "florist")):
        domain.add(made, name, tenant)
        account.add(made, f"x@{name}", WORD)
    alias.put(made, "sales@moving.test", ["x@moving.test", "y@moving.test"])
    alias.put(made, "*@moving.test", ["x@moving.test"])
    alias.put(made, "to-moving@other.test", ["x@moving.test", "y@moving.test"])
    return made


@pytest.fixture
def lookup(site: Site) -> Iterator[Lookup]:
    config = site.config
    made = Lookup(open_reader(url_of(config)), config.directory, config.host, config.state)
    yield made
    made.close()


def stage(site: Site, state: str, refusal: str = "", came_from: str = "", *, active: bool = True) -> None:
    with site.database.change() as session:
        row = hosted_domain(session, "moving.test")
        row.state, row.refusal, row.came_from, row.active = state, refusal, came_from, active


def ask(lookup: Lookup, address: str) -> Resolved:
    return asyncio.run(lookup.resolve(Address.parse(address)))


def ends(lookup: Lookup, address: str) -> list[tuple[str, str]]:
    return [(target.address, target.kind) for target in ask(lookup, address).targets]


def login(lookup: Lookup) -> bool:
    return asyncio.run(lookup.authenticate("x@moving.test", WORD)) is not None


def views(site: Site) -> tuple[int, ...]:
    """How many of the domain's people Dovecot lets in, and for how many it has a mailbox."""
    with site.database.session() as session:
        return tuple(
            session.scalar(text(f"SELECT count(*) FROM {view} WHERE address = 'x@moving.test'"))
            for view in ("mail_logins", "mail_users")
        )


@pytest.mark.parametrize("state", ["claimed", "removed"])
def test_what_nobody_has_proved_is_as_foreign_as_any(site: Site, lookup: Lookup, state: str) -> None:
    stage(site, state)
    for address in ("x@moving.test", "y@moving.test", "sales@moving.test", "postmaster@moving.test"):
        assert ask(lookup, address) == Resolved(False) == ask(lookup, "x@far.test")
    assert ends(lookup, "to-moving@other.test") == [("x@moving.test", "remote"), ("y@moving.test", "remote")]
    assert not login(lookup)
    assert not asyncio.run(lookup.mailbox("x@moving.test"))
    assert not asyncio.run(lookup.may_send_as("x@own.test", Address.parse("sales@moving.test")))
    # Nobody's postmaster is there, and it is none of the tenant's domains.
    assert ends(lookup, "postmaster@own.test") == [("x@own.test", "local")]
    assert ends(lookup, "postmaster@mail.host.test") == [("x@own.test", "local")]
    assert views(site) == (0, 0)


@pytest.mark.parametrize(("state", "came_from"), [("verified", ""), ("shadow", ""), ("leaving", "shadow")])
def test_before_the_cutover_only_names_that_are_here_are_ours(
    site: Site, lookup: Lookup, state: str, came_from: str
) -> None:
    stage(site, state, came_from=came_from)
    assert ends(lookup, "x@moving.test") == ends(lookup, "X+tag@moving.test") == [("x@moving.test", "local")]
    assert ends(lookup, "sales@moving.test") == [("x@moving.test", "local"), ("y@moving.test", "remote")]
    assert ends(lookup, "to-moving@other.test") == [("x@moving.test", "local"), ("y@moving.test", "remote")]
    for address in ("y@moving.test", "postmaster@moving.test", "abuse@moving.test"):
        assert ask(lookup, address) == Resolved(False)
    assert login(lookup)
    assert asyncio.run(lookup.mailbox("x@moving.test"))
    assert views(site) == (1, 1)


@pytest.mark.parametrize(("state", "came_from"), [("cutover", ""), ("hardened", ""), ("leaving", "cutover")])
def test_from_the_cutover_on_all_of_it_is_ours(site: Site, lookup: Lookup, state: str, came_from: str) -> None:
    stage(site, state, came_from=came_from)
    for address in ("x@moving.test", "whoever@moving.test", "postmaster@moving.test"):
        assert ends(lookup, address) == [("x@moving.test", "local")]
    assert login(lookup)
    assert views(site) == (1, 1)


@pytest.mark.parametrize("refusal", ["4xx", "5xx"])
def test_suspended_it_takes_nothing_and_lets_nobody_in(site: Site, lookup: Lookup, refusal: str) -> None:
    stage(site, "suspended", refusal, "hardened")
    for address in ("x@moving.test", "whoever@moving.test", "postmaster@moving.test"):
        assert ask(lookup, address) == Resolved(True, (), "bakery", closed=refusal)
    assert ends(lookup, "to-moving@other.test") == []
    assert not login(lookup)
    assert ends(lookup, "postmaster@own.test") == [("x@own.test", "local")]
    assert asyncio.run(lookup.mailbox("x@moving.test"))  # for what is on the way
    assert views(site) == (0, 1)


@pytest.mark.parametrize(("state", "came_from", "active"), [("suspended", "shadow", True), ("verified", "", False)])
def test_whoever_has_its_mail_keeps_it_while_it_is_off_here(
    site: Site, lookup: Lookup, state: str, came_from: str, active: bool
) -> None:
    stage(site, state, "5xx" if state == "suspended" else "", came_from, active=active)
    assert ask(lookup, "x@moving.test") == ask(lookup, "y@moving.test") == Resolved(False)
    assert ends(lookup, "to-moving@other.test") == [("x@moving.test", "remote"), ("y@moving.test", "remote")]
    assert not login(lookup)


def test_a_change_of_stage_is_seen_at_once(site: Site, lookup: Lookup) -> None:
    stage(site, "claimed")
    assert ask(lookup, "x@moving.test") == Resolved(False)
    assert not login(lookup)
    stage(site, "cutover")
    lookup._changes.due = 0.0  # as after a quarter of a second
    assert ends(lookup, "x@moving.test") == [("x@moving.test", "local")]
    assert login(lookup)
    stage(site, "claimed")
    lookup._changes.due = 0.0
    assert lookup.resolve_cached(Address.parse("x@moving.test")) is None
    assert not login(lookup)


@pytest.mark.parametrize("state", ["verified", "shadow", "cutover", "hardened"])
def test_what_is_still_elsewhere_goes_there(site: Site, lookup: Lookup, state: str) -> None:
    stage(site, "shadow")
    with site.database.change() as session:
        hosted_domain(session, "moving.test").old_mx = '{"hosts": ["mx.old.test", "mx2.old.test"]}'
    domain_split.change(site, "moving.test", ["y@moving.test"])
    stage(site, state)
    time.sleep(0.25)
    assert ends(lookup, "y@moving.test") == [("y@moving.test", "elsewhere")]
    assert ends(lookup, "Y+tag@moving.test") == [("Y+tag@moving.test", "elsewhere")]
    assert ends(lookup, "sales@moving.test") == [("x@moving.test", "local"), ("y@moving.test", "elsewhere")]
    assert ends(lookup, "x@moving.test") == [("x@moving.test", "local")]
    assert not asyncio.run(lookup.may_send_as("x@own.test", Address.parse("y@moving.test")))
    assert asyncio.run(lookup.old_hosts("moving.test")) == ["mx.old.test", "mx2.old.test"]
    assert asyncio.run(lookup.old_hosts("nobody.test")) == []
    domain_split.change(site, "moving.test", (), ["y@moving.test"])


def test_one_that_leaves_suspended_stays_shut(site: Site, lookup: Lookup) -> None:
    stage(site, "leaving", "5xx", "hardened suspended")
    assert ask(lookup, "x@moving.test") == Resolved(True, (), "bakery", closed="5xx")
    assert not login(lookup)
    assert ends(lookup, "postmaster@own.test") == [("x@own.test", "local")]
    assert views(site) == (0, 1)
