"""Who a recipient is and whose a login is, asked of a real database."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from postane.admin import account, alias, domain, policy
from postane.admin.site import Site, hosted_domain
from postane.config.model import Config, Directory
from postane.core.address import Address
from postane.core.errors import TemporaryError
from postane.core.ports import Resolved
from postane.directory import lookup as lookup_module
from postane.directory.lookup import Lookup
from postane.storage.place import url_of
from postane.storage.reader import Ask, Row, open_reader
from postane.storage.schema import Alias, AliasTarget
from postane.storage.server_reader import ServerReader

A, B = "password-a", "password-b"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(Config(host="mail.host.test", state=str(tmp_path_factory.mktemp("directory"))))
    made.database.upgrade()
    domain.add(made, "demo.test", "bakery")
    domain.add(made, "other.test", "bakery")
    domain.add(made, "empty.test", "nobody")
    domain.add(made, "müze.test")
    account.add(made, "ayse@demo.test", A)
    account.add(made, "mehmet@demo.test", B)
    account.add(made, "çiğdem@demo.test", B)
    account.add(made, "off@demo.test", B)
    account.change(made, "off@demo.test", active=False)
    account.add(made, "müdür@müze.test", B)
    alias.put(made, "info@demo.test", ["ayse@demo.test", "mehmet@demo.test", "Away@Far.test"])
    alias.put(made, "all@demo.test", ["info@demo.test", "ayse@demo.test"])
    alias.put(made, "loop@demo.test", ["pool@demo.test", "ayse@demo.test"])
    alias.put(made, "pool@demo.test", ["loop@demo.test"])
    alias.put(made, "dead@demo.test", ["gone@demo.test"])
    alias.put(made, "*@other.test", ["ayse@demo.test"])
    alias.put(made, "abuse@demo.test", ["mehmet@demo.test"])
    return made


@pytest.fixture
def lookup(site: Site) -> Iterator[Lookup]:
    made = _lookup(site)
    yield made
    made.close()


def _lookup(site: Site) -> Lookup:
    config = site.config
    return Lookup(open_reader(url_of(config)), config.directory, config.host, config.state)


def ask(lookup: Lookup, address: str) -> Resolved:
    return asyncio.run(lookup.resolve(Address.parse(address)))


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        ("ayse@demo.test", ["ayse@demo.test"]),
        ("AYSE@Demo.TEST", ["ayse@demo.test"]),
        ("ayse+list@demo.test", ["ayse@demo.test"]),
        ("Çiğdem@demo.test", ["çiğdem@demo.test"]),
        ("C\u0327ig\u0306dem@demo.test", ["çiğdem@demo.test"]),
        ("info@demo.test", ["ayse@demo.test", "mehmet@demo.test", "Away@far.test"]),
        ("info+x@demo.test", ["ayse@demo.test", "mehmet@demo.test", "Away@far.test"]),
        ("all@demo.test", ["ayse@demo.test", "mehmet@demo.test", "Away@far.test"]),
        ("loop@demo.test", ["ayse@demo.test"]),
        ("dead@demo.test", []),
        ("off@demo.test", []),
        ("nobody@demo.test", []),
        ("anything@other.test", ["ayse@demo.test"]),
        ("postmaster@demo.test", ["ayse@demo.test"]),
        ("abuse@demo.test", ["mehmet@demo.test"]),
        ("postmaster@other.test", ["ayse@demo.test"]),
        ("postmaster@empty.test", ["ayse@demo.test"]),
        ("postmaster@mail.host.test", ["ayse@demo.test"]),
        ("nobody@mail.host.test", []),
        ("müdür@xn--mze-hoa.test", ["müdür@xn--mze-hoa.test"]),
        ("MÜDÜR@MÜZE.test", ["müdür@xn--mze-hoa.test"]),
        ('"ayse"@demo.test', ["ayse@demo.test"]),
    ],
)
def test_targets(lookup: Lookup, address: str, targets: list[str]) -> None:
    resolved = ask(lookup, address)
    assert resolved.known_domain
    assert [target.address for target in resolved.targets] == targets
    assert {t.kind for t in resolved.targets if t.address.endswith("far.test")} <= {"remote"}


def test_an_alias_of_many_aliases_loses_nobody(site: Site, lookup: Lookup) -> None:
    teams = [f"team{number}@demo.test" for number in range(40)]
    for number, team in enumerate(teams):
        alias.put(site, team, [f"person{number}@far.test"])
    alias.put(site, "everybody@demo.test", teams)
    with site.database.session() as session:  # deeper than Python's stack
        hosted = hosted_domain(session, "demo.test")
        for number in range(600):
            below = f"deep{number - 1}@demo.test" if number else "ayse@demo.test"
            targets = [AliasTarget(address=below)]
            session.add(Alias(domain_id=hosted.id, address=f"deep{number}@demo.test", targets=targets))
    assert [t.address for t in ask(lookup, "everybody@demo.test").targets] == [f"person{n}@far.test" for n in range(40)]
    assert [t.address for t in ask(lookup, "deep599@demo.test").targets] == ["ayse@demo.test"]


def test_foreign_domains_are_not_ours(lookup: Lookup) -> None:
    for address in ("ayse@far.test", "ayse@sub.demo.test", "ayse@[192.0.2.1]"):
        assert ask(lookup, address) == Resolved(False)


def test_an_answer_is_kept_until_anybody_changes_something(site: Site, lookup: Lookup) -> None:
    new = Address.parse("new@demo.test")
    assert ask(lookup, "new@demo.test").targets == ()
    assert lookup.resolve_cached(new) == ask(lookup, "new@demo.test")
    account.add(site, "new@demo.test", A)
    _within_a_second(lambda: [t.address for t in ask(lookup, "new@demo.test").targets] == ["new@demo.test"])
    account.remove(site, "new@demo.test")
    _within_a_second(lambda: ask(lookup, "new@demo.test").targets == ())


def _within_a_second(true: object) -> None:
    assert callable(true)
    end = time.monotonic() + 1
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_logins(lookup: Lookup) -> None:
    def login(name: str, password: str) -> str | None:
        found = asyncio.run(lookup.authenticate(name, password))
        return f"{found.account} {found.tenant}" if found else None

    assert login("ayse@demo.test", A) == "ayse@demo.test bakery"
    assert login("Ayse@DEMO.test", A) == "ayse@demo.test bakery"
    assert login("ayse@demo.test", A) == "ayse@demo.test bakery"  # from memory now
    for name, password in [
        ("ayse@demo.test", B),
        ("ayse@demo.test", ""),
        ("ayse", A),
        ("off@demo.test", B),
        ("info@demo.test", A),
        ("nobody@demo.test", A),
        ("\ud800@demo.test", A),
    ]:
        assert login(name, password) is None


def test_a_changed_password_ends_the_old_one(site: Site, lookup: Lookup) -> None:
    account.add(site, "pw@demo.test", A)
    _within_a_second(lambda: asyncio.run(lookup.authenticate("pw@demo.test", A)) is not None)
    account.set_password(site, "pw@demo.test", B)
    _within_a_second(lambda: asyncio.run(lookup.authenticate("pw@demo.test", A)) is None)
    assert asyncio.run(lookup.authenticate("pw@demo.test", B)) is not None


def test_may_send_as(lookup: Lookup) -> None:
    def may(sender: str) -> bool:
        return asyncio.run(lookup.may_send_as("ayse@demo.test", Address.parse(sender)))

    assert may("ayse@demo.test")
    assert may("Ayse+news@demo.test")
    assert may("info@demo.test")
    assert may("whoever@other.test")  # its catch-all is hers
    assert not may("mehmet@demo.test")
    assert not may("abuse@demo.test")
    assert not may("ayse@far.test")


def test_signing_keys(lookup: Lookup) -> None:
    keys = lookup.signing_keys("demo.test")
    assert [(key.selector, key.algorithm) for key in keys] == [("p-rsa-1", "rsa"), ("p-ed25519-1", "ed25519")]
    assert all(key.path.stat().st_mode & 0o777 == 0o600 for key in keys)
    assert lookup.signing_keys("far.test") == []


def test_a_database_that_is_away_is_a_temporary_error(tmp_path: Path) -> None:
    config = Config(host="mail.host.test", state=str(tmp_path / "none"))
    lookup = _lookup(Site(config))
    assert lookup.resolve_cached(Address.parse("ayse@demo.test")) is None
    with pytest.raises(TemporaryError):
        ask(lookup, "ayse@demo.test")
    with pytest.raises(TemporaryError):
        asyncio.run(lookup.authenticate("ayse@demo.test", A))
    lookup.close()


def test_it_comes_back_when_the_database_does(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    lookup = _lookup(site)
    with pytest.raises(TemporaryError):
        ask(lookup, "ayse@demo.test")
    site.database.upgrade()
    domain.add(site, "demo.test")
    account.add(site, "ayse@demo.test", A)
    _within_a_second(lambda: ask(lookup, "ayse@demo.test").targets != ())
    lookup.close()


def test_a_wrong_name_takes_as_long_as_a_wrong_password(lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in hashes, not in seconds."""
    reckoned: list[str] = []

    def verify(_password: str, stored: str) -> bool:
        reckoned.append(stored)
        return False

    monkeypatch.setattr("postane.directory.lookup.verify_password", verify)
    for name in ("ayse@demo.test", "nobody@demo.test", "off@demo.test", "no address", "info@demo.test"):
        before = len(reckoned)
        assert asyncio.run(lookup.authenticate(name, "wrong-word")) is None
        assert len(reckoned) == before + 1, name


def test_a_right_login_is_hashed_once_in_a_while(lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(lookup.authenticate("ayse@demo.test", A)) is not None
    monkeypatch.setattr("postane.directory.lookup.verify_password", lambda *_: pytest.fail("hashed again"))
    assert asyncio.run(lookup.authenticate("ayse@demo.test", A)) is not None
    assert A.encode() not in b"".join(lookup._logins)  # what is kept tells nobody the password


def test_names_that_are_asked_for_outlive_guessed_ones(site: Site) -> None:
    config = site.config
    few = Lookup(open_reader(url_of(config)), Directory(cache_entries=3), config.host, config.state)
    ask(few, "ayse@demo.test")
    for number in range(9):
        ask(few, f"guess{number}@demo.test")
        assert few.resolve_cached(Address.parse("ayse@demo.test")) is not None
    assert few.resolve_cached(Address.parse("guess0@demo.test")) is None
    few.close()


def test_guessed_names_cost_little(site: Site) -> None:
    """A dictionary attack asks for nothing but names that are not there."""
    config = site.config
    few = Lookup(open_reader(url_of(config)), Directory(cache_entries=50), config.host, config.state)
    asked: list[str] = []
    snapshot = few._reader.snapshot

    @contextmanager
    def counted() -> Iterator[Ask]:
        with snapshot() as ask:

            def count(sql: str, **values: object) -> Sequence[Row]:
                asked.append(sql)
                return ask(sql, **values)

            yield count

    few._reader.snapshot = counted  # type: ignore[method-assign]
    for number in range(30):
        assert ask(few, f"guess{number}@demo.test").targets == ()
    assert len(asked) == 60  # the domain, and all names that could serve
    assert len(few._unknown) == 5
    assert len(few._resolved) == 0
    few.close()


@pytest.mark.parametrize(
    "sql",
    [
        lookup_module._DOMAIN,
        lookup_module._NAMES,
        lookup_module._TARGETS,
        lookup_module._MAILBOX,
        lookup_module._CREDENTIALS,
        lookup_module._KEYS,
        lookup_module._SIBLINGS,
        lookup_module._OLDEST.format("AND accounts.domain_id = :domain"),
    ],
)
def test_no_question_reads_a_whole_table(site: Site, sql: str) -> None:
    """So the cost stays the same from ten domains to ten thousand."""
    names = dict.fromkeys(re.findall(r":(\w+)", sql), "x")
    with open_reader(url_of(site.config)).snapshot() as ask:
        steps = [str(row[3]) for row in ask(f"EXPLAIN QUERY PLAN {sql}", **names)]
    assert steps
    assert [step for step in steps if step.startswith("SCAN")] == []


def test_a_database_server_is_asked_in_the_same_words(site: Site) -> None:
    config = site.config
    lookup = Lookup(ServerReader(url_of(config)), config.directory, config.host, config.state)
    assert [t.address for t in ask(lookup, "all+x@demo.test").targets][:2] == ["ayse@demo.test", "mehmet@demo.test"]
    assert [t.address for t in ask(lookup, "postmaster@empty.test").targets] == ["ayse@demo.test"]
    assert ask(lookup, "nobody@demo.test") == Resolved(True, (), "bakery")
    found = asyncio.run(lookup.authenticate("ayse@demo.test", A))
    assert found is not None
    assert found.tenant == "bakery"
    assert asyncio.run(lookup.mailbox("ayse@demo.test"))
    assert [key.algorithm for key in lookup.signing_keys("demo.test")] == ["rsa", "ed25519"]
    lookup.close()


def test_members_are_those_of_the_tenants_domains(site: Site, lookup: Lookup) -> None:
    scope = policy.Scope.parse("ayse@demo.test")
    policy.set_key(site, scope, "filters.options.lists.from", ["members", "a@far.test"])
    wishes = ask(lookup, "ayse@demo.test").policies["ayse@demo.test"]
    assert [json.loads(wish)["options"]["lists"] for wish in wishes] == [
        {"domains": ["demo.test", "other.test"]},
        {"from": ["members", "a@far.test"]},
    ]
    assert ask(lookup, "mehmet@demo.test").policies == {}
    policy.unset_key(site, scope, "filters.options.lists.from")


def test_mailbox(lookup: Lookup) -> None:
    def has(address: str) -> bool:
        return asyncio.run(lookup.mailbox(address)) is not None

    assert has("ayse@demo.test")
    assert not has("off@demo.test")
    assert not has("info@demo.test")
    assert not has("gone@demo.test")


def test_mailbox_is_answered_from_memory_until_something_changes(
    site: Site, lookup: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def has(address: str) -> bool:
        return asyncio.run(lookup.mailbox(address)) is not None

    account.add(site, "leaver@demo.test", A)
    assert has("leaver@demo.test")
    with monkeypatch.context() as patched:
        patched.setattr(lookup._reader, "snapshot", lambda: pytest.fail("asked the database again"))
        assert has("leaver@demo.test")
    account.change(site, "leaver@demo.test", active=False)
    time.sleep(0.25)
    assert not has("leaver@demo.test")
