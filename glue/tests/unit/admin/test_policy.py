"""Policies in the directory: kept if they fit, laid over each other, and what a worker reads of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from postane.admin import account, alias, domain, policy
from postane.admin.policy import Held, Key, Scope
from postane.admin.site import Site
from postane.config.model import Config, Filters
from postane.core.address import Address
from postane.core.errors import NotAllowedError, NotFoundError, UsageError
from postane.daemon.wiring import make_lookup
from postane.filters.registry import BUILTIN, filter_class

AYSE = "ayse@a.test"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    config = Config(host="mail.host.test", state=str(tmp_path), filters=Filters(use=("rspamd",)))
    made = Site(config)
    made.database.upgrade()
    domain.add(made, "a.test", tenant="Acme")
    account.add(made, AYSE, "password-1")
    alias.put(made, "away@a.test", ["friend@far.test"])
    return made


def put(site: Site, scope: str, key: str, value: object) -> bool:
    return policy.set_key(site, Scope.parse(scope), key, value).changed


def test_the_nearest_wins_and_each_setting_tells_who_said_it(site: Site) -> None:
    assert put(site, "tenant:Acme", "filters.suspect", "quarantine")
    assert put(site, "domain:A.test", "filters.options.rspamd.reject", False)
    assert put(site, AYSE, "filters.suspect", "mark")
    assert not put(site, AYSE, "filters.suspect", "mark")
    held = policy.effective(site, Scope.parse(AYSE))
    assert Held("filters.suspect", "mark", AYSE) in held
    assert Held("filters.options.rspamd.reject", False, "domain:a.test") in held
    assert [view.scope for view in policy.every(site)] == ["tenant:Acme", "domain:a.test", AYSE]


def test_what_is_taken_back_leaves_nothing(site: Site) -> None:
    put(site, AYSE, "filters.options.rspamd.reject", False)
    assert policy.unset_key(site, Scope.parse(AYSE), "filters.options.rspamd.reject").changed
    assert not policy.unset_key(site, Scope.parse(AYSE), "filters.suspect").changed
    assert policy.every(site) == []


@pytest.mark.parametrize(
    ("scope", "key", "value", "error", "said"),
    [
        (AYSE, "filters.options.rspamd.tiemout", 3, UsageError, "tiemout"),
        (AYSE, "filters.suspect", "shred", UsageError, "shred"),
        (AYSE, "quarantine.days", "many", UsageError, "quarantine"),
        (AYSE, "quarantine.url", "https://x.test/", UsageError, "may change days, digest, language"),
        (AYSE, "smtp.workers", 3, UsageError, "smtp.workers"),
        # The host's own matter, of a filter in use and of one that is not.
        (AYSE, "filters.options.rspamd.url", "http://evil.test:1", UsageError, "rspamd.url: is the host's own matter"),
        ("domain:a.test", "filters.options.clamav.address", "evil.test:1", UsageError, "clamav.address: is the host's"),
        ("tenant:Acme", "filters.options.lists.levels", [{"allow": ["x.test"]}], UsageError, "lists.levels"),
        (AYSE, "filters.options.nothing.x", 1, UsageError, "there is no filter 'nothing'"),
        ("a.test", "filters.suspect", "mark", UsageError, "none of tenant:NAME"),
        ("nobody@a.test", "filters.suspect", "mark", NotFoundError, "no account nobody@a.test"),
        ("tenant:Nobody", "filters.suspect", "mark", NotFoundError, "no tenant Nobody"),
    ],
)
def test_what_does_not_fit_is_refused(
    site: Site, scope: str, key: str, value: object, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        put(site, scope, key, value)
    assert policy.every(site) == []


def test_a_worker_hears_of_it_at_once(site: Site) -> None:
    lookup = make_lookup(site.config)

    async def wishes(name: str) -> list[tuple[str, list[str]]]:
        await asyncio.sleep(0.25)  # changes are looked for five times a second
        found = await lookup.resolve(Address.parse(name))
        return [(to, [json.loads(one)["suspect"] for one in said]) for to, said in found.policies.items()]

    assert asyncio.run(wishes(AYSE)) == []
    put(site, "tenant:Acme", "filters.suspect", "quarantine")
    put(site, AYSE, "filters.suspect", "mark")
    put(site, "domain:a.test", "quarantine.language", "tr")  # not the filters' matter
    assert asyncio.run(wishes(AYSE)) == [(AYSE, ["quarantine", "mark"])]
    assert asyncio.run(wishes("away@a.test")) == [("friend@far.test", ["quarantine"])]
    assert [json.loads(one)["suspect"] for one in policy.wishes_of(site, AYSE)] == ["quarantine", "mark"]
    login = asyncio.run(lookup.authenticate(AYSE, "password-1"))
    assert login is not None
    assert len(login.policies) == 2
    lookup.close()


def test_it_goes_with_what_it_belongs_to(site: Site) -> None:
    put(site, AYSE, "filters.suspect", "mark")
    account.remove(site, AYSE)
    assert policy.every(site) == []


@pytest.mark.parametrize(
    ("key", "value", "may"),
    [
        ("filters.suspect", "quarantine", True),
        ("filters.options.rspamd.reject", False, True),
        ("filters.options.lists.addresses", {"info@a.test": "members"}, True),
        ("quarantine.language", "tr", True),
        ("filters.use", [], False),
        ("filters.options.rspamd.on_failure", "skip", False),
        ("filters.options.clamav.on_virus", "quarantine", False),
        ("filters.options.lists.allow_needs", "none", False),
    ],
)
def test_an_owner_changes_less_than_the_operator(site: Site, key: str, value: object, may: bool) -> None:
    scope = Scope.parse("domain:a.test")
    assert Key(key, may) in policy.possible()
    if may:
        assert policy.set_key(site, scope, key, value, by_owner=True).changed
        assert policy.unset_key(site, scope, key, by_owner=True).changed
        return
    with pytest.raises(NotAllowedError, match=key):
        policy.set_key(site, scope, key, value, by_owner=True)
    assert policy.set_key(site, scope, key, value).changed
    with pytest.raises(NotAllowedError, match=key):
        policy.unset_key(site, scope, key, by_owner=True)
    # What the operator has said stays beside what the owner says.
    assert policy.set_key(site, scope, "filters.suspect", "mark", by_owner=True).changed


def test_every_key_is_one_that_may_be_set() -> None:
    every = {one.key for one in policy.possible()}
    assert not every & {"filters.options.clamav.address", "filters.options.rspamd.url", "filters.options.lists.levels"}
    for name in BUILTIN:
        judge = filter_class(name)
        fields = {field.encode_name for field in msgspec.structs.fields(judge.options_type)}
        assert judge.host <= fields
        assert judge.owner <= fields
        assert not judge.host & judge.owner
