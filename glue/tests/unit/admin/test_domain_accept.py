"""Who may have a run, the account that is made for it, and what is kept of it. The checks themselves: tests/wire."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postane.acceptance import seal
from postane.acceptance.result import Reason, Result, Verdict
from postane.acceptance.subject import Subject
from postane.admin import account, alias, domain, domain_accept, mailboxes
from postane.admin.domain_accept import Accepted, Wishes
from postane.admin.domain_life import Desk
from postane.admin.site import Site
from postane.config.model import Config, Delivery, Dns, Filters
from postane.core.errors import AddressError, ConflictError, NotFoundError, TemporaryError, UsageError
from postane.domains.kinds import Kind

D = "shop.test"
RESULTS = [Result("mail.in", Verdict.PASS, Reason(), ("S: 250 ok",), 0.5)]


class Checks:
    """In place of the checks: notes what they would have been told, and what stood in the directory meanwhile."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.subject: Subject | None = None
        self.accounts: list[tuple[str, bool]] = []
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.raises: BaseException | None = None

    async def __call__(self, subject: Subject, *_: object, **__: object) -> list[Result]:
        self.subject = subject
        names = [one.address for one in account.every(self.site, D)]
        self.accounts = [(name, account.check_password(self.site, name, subject.password)) for name in names]
        self.aliases = {one.address: one.targets for one in alias.every(self.site, D)}
        if self.raises is not None:
            raise self.raises
        return RESULTS


@pytest.fixture
def site(tmp_path: Path) -> Site:
    config = Config(
        host="mail.host.test",
        state=str(tmp_path / "state"),
        dns=Dns(nameservers=("127.0.0.1:9",), addresses=("192.0.2.1",)),
        delivery=Delivery(local="maildir", maildir=str(tmp_path / "vmail")),
        filters=Filters(use=("authentication", "rspamd")),
    )
    Path(config.state).mkdir()
    made = Site(config)
    made.database.upgrade()
    domain.add(made, D)
    return made


@pytest.fixture
def checks(site: Site, monkeypatch: pytest.MonkeyPatch) -> Checks:
    made = Checks(site)
    monkeypatch.setattr(domain_accept, "accept", made)
    return made


def names(site: Site) -> list[str]:
    return [one.address for one in account.every(site, D)] + [one.address for one in alias.every(site, D)]


def test_an_account_is_made_and_removed(site: Site, checks: Checks) -> None:
    account.add(site, f"ayse@{D}", "her password")
    before = names(site)
    done = domain_accept.run(site, D, Wishes())
    assert done.passed
    assert checks.accounts == [
        (f"ayse@{D}", False),
        (f"postane-acceptance-forward@{D}", True),
        (f"postane-acceptance@{D}", True),
    ]
    assert checks.aliases[f"postane-acceptance-alias@{D}"] == (f"postane-acceptance@{D}",)
    assert names(site) == before
    assert mailboxes.every_left(site) == []
    password = checks.subject.password if checks.subject else ""
    assert len(password) > 20
    domain_accept.run(site, D, Wishes())
    assert checks.subject is not None
    assert checks.subject.password != password


def test_what_the_checks_are_told(site: Site, checks: Checks) -> None:
    domain_accept.run(site, D, Wishes(local="trial", echo="echo@far.test", stranger="me@far.test", peer="far.test:25"))
    subject = checks.subject
    assert subject is not None
    assert (subject.domain, subject.host, subject.account) == (D, "mail.host.test", f"trial@{D}")
    assert (subject.echo, subject.stranger, subject.peer) == ("echo@far.test", "me@far.test", "far.test:25")
    assert (subject.addresses, subject.led_here, subject.suspects, subject.catch_all) == (
        ("192.0.2.1",),
        True,
        True,
        False,
    )
    assert {Kind.MX, Kind.SRV, Kind.DMARC} <= subject.kinds
    alias.put(site, f"*@{D}", [f"ayse@{D}"])
    domain_accept.run(site, D, Wishes())
    assert checks.subject is not None
    assert checks.subject.catch_all
    assert checks.subject.stranger == "postane-acceptance@mail.host.test"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError(), RuntimeError("a fault")])
def test_nothing_stays_of_a_run_that_breaks_off(site: Site, checks: Checks, error: BaseException) -> None:
    before = names(site)
    checks.raises = error
    with pytest.raises(RuntimeError if isinstance(error, RuntimeError) else TemporaryError):
        domain_accept.run(site, D, Wishes())
    assert checks.accounts
    assert names(site) == before
    assert not list(Path(site.config.state, "accepted", D).glob("*Z*"))


def test_what_a_killed_run_left_is_removed_by_the_next(site: Site, checks: Checks) -> None:
    before = names(site)
    for name in ("postane-acceptance", "postane-acceptance-forward"):
        account.add(site, f"{name}@{D}", "of a killed run", display_name=domain_accept.MADE)
    alias.put(site, f"postane-acceptance-alias@{D}", [f"postane-acceptance@{D}"])
    assert domain_accept.run(site, D, Wishes()).passed
    assert names(site) == before


def _somebodys_account(site: Site) -> None:
    account.add(site, f"postane-acceptance@{D}", "her password", display_name="Ayşe")


def _somebodys_copy(site: Site) -> None:
    account.add(site, f"postane-acceptance-forward@{D}", "her password")


def _somebodys_alias(site: Site) -> None:
    alias.put(site, f"postane-acceptance-alias@{D}", [f"ayse@{D}"])


def _account_of_that_alias(site: Site) -> None:
    account.add(site, f"postane-acceptance-alias@{D}", "her password")


@pytest.mark.parametrize(
    "make",
    [_somebodys_account, _somebodys_copy, _somebodys_alias, _account_of_that_alias],
    ids=lambda one: one.__name__,
)
def test_what_is_somebodys_is_left_alone(site: Site, checks: Checks, make: Callable[[Site], None]) -> None:
    make(site)
    before = names(site)
    with pytest.raises(ConflictError):
        domain_accept.run(site, D, Wishes())
    assert names(site) == before
    assert checks.subject is None


def test_only_where_there_is_mail(site: Site, checks: Checks) -> None:
    with pytest.raises(NotFoundError):
        domain_accept.run(site, "other.test", Wishes())
    desk = Desk(site)
    desk.claim("claimed.test", "bakery")
    with pytest.raises(ConflictError, match="claimed"):
        domain_accept.run(site, "claimed.test", Wishes())
    desk.suspend(D, "4xx")
    with pytest.raises(ConflictError, match="suspended"):
        domain_accept.run(site, D, Wishes())
    desk.resume(D)
    domain.set_active(site, D, False)
    with pytest.raises(ConflictError, match="switched off"):
        domain_accept.run(site, D, Wishes())
    domain.set_active(site, D, True)
    desk.rollback(D)  # to the shadow: its MX is another's yet
    domain_accept.run(site, D, Wishes())
    assert checks.subject is not None
    assert not checks.subject.led_here


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(peer="far.test"),
        Wishes(peer=":25"),
        Wishes(peer="far.test:70000"),
        Wishes(echo="nobody"),
        Wishes(stranger="a@b.test>\r\nRSET"),
        Wishes(echo="ş@far.test"),
        Wishes(local="a b"),
    ],
)
def test_wishes_that_make_no_sense(site: Site, checks: Checks, wishes: Wishes) -> None:
    with pytest.raises((UsageError, AddressError)):
        domain_accept.run(site, D, wishes)
    assert checks.subject is None


def test_one_run_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[BaseException] = []

    class Nested(Checks):
        async def __call__(self, *_: Any, **__: Any) -> list[Result]:
            with pytest.raises(TemporaryError, match="another acceptance run") as caught:
                domain_accept.run(site, D, Wishes())
            inside.append(caught.value)
            return RESULTS

    monkeypatch.setattr(domain_accept, "accept", Nested(site))
    assert domain_accept.run(site, D, Wishes()).passed
    assert len(inside) == 1


@pytest.fixture
def done(site: Site, checks: Checks) -> Accepted:
    return domain_accept.run(site, D, Wishes())


def test_what_is_kept(site: Site, done: Accepted, tmp_path: Path) -> None:
    assert sorted(one.name for one in done.folder.iterdir()) == [
        "certificate.en.html",
        "certificate.json",
        "certificate.tr.html",
    ]
    assert done.folder.parent == Path(site.config.state, "accepted", D)
    key = Path(site.config.state, "keys", "acceptance.key")
    for path in (key, *done.folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (done.folder, done.folder.parent, done.folder.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert domain_accept.last(site, D) == done
    copies = domain_accept.write_to(done, tmp_path / "for" / "them")
    assert {one.name: one.read_bytes() for one in copies} == {
        one.name: one.read_bytes() for one in done.folder.iterdir()
    }


def test_two_runs_in_one_second(site: Site, done: Accepted) -> None:
    again = domain_accept._keep(done.folder.parent, done.document)
    assert (again.name, done.folder.is_dir()) == (f"{done.folder.name}-2", True)
    assert domain_accept.last(site, D).folder == again


def test_the_last_is_the_newest(site: Site, done: Accepted) -> None:
    newer = done.folder.with_name("29991231T000000Z")
    newer.mkdir()
    (newer / "certificate.json").write_text(json.dumps(done.document | {"provider": "of the newer"}))
    assert domain_accept.last(site, D).document["provider"] == "of the newer"
    with pytest.raises(NotFoundError):
        domain_accept.last(site, "other.test")


def test_the_signature_is_checked(site: Site, done: Accepted, tmp_path: Path) -> None:
    file = done.folder / "certificate.json"
    good = domain_accept.verify(site, file)
    assert (good.good, good.domain, good.host, good.verdict, good.trouble) == (True, D, "mail.host.test", "pass", "")
    forged = tmp_path / "forged.json"
    forged.write_text(file.read_text().replace('"name": "mail.in"', '"name": "mail.out"'))
    assert "not as it was signed" in domain_accept.verify(site, forged).trouble
    other = seal.sign(done.document, bytes(32))
    forged.write_text(json.dumps(other))
    assert "another key than this host's" in domain_accept.verify(site, forged).trouble
    assert domain_accept.verify(site, forged, seal.fingerprint_of(bytes(32))).good
    assert not domain_accept.verify(site, file, seal.fingerprint_of(bytes(32))).good
    for text in ("<html>", "[]", "{}", '{"kind": "postane-acceptance", "version": 99}'):
        forged.write_text(text)
        with pytest.raises(UsageError):
            domain_accept.verify(site, forged)
