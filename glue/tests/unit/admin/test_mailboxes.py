"""Whoever gets an address after another never has the other's mailbox, whatever led there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from postane.admin import account, audit, domain, mailboxes
from postane.admin.site import Site
from postane.config.model import Config, Delivery
from postane.core.errors import NotFoundError, PermanentError
from postane.storage.schema import Mailbox

A = "ayse@demo.test"
WORD = "password-1"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(
        Config(host="h.test", state=str(tmp_path), delivery=Delivery(local="maildir", maildir=str(tmp_path / "vmail")))
    )
    made.database.upgrade()
    domain.add(made, "demo.test", "bakery")
    return made


def home(site: Site, address: str = A) -> str:
    """As Dovecot is told."""
    with site.database.session() as session:
        return str(session.scalar(text("SELECT home FROM mail_users WHERE address = :a"), {"a": address}))


def forget_when(site: Site) -> None:
    """As if accounts had gone long ago, so that nothing waits."""
    with site.database.change() as session:
        session.query(Mailbox).filter(Mailbox.left_at.is_not(None)).update({"left_at": 1.0})


def by_verb(site: Site) -> None:
    account.remove(site, A)


def by_domain(site: Site) -> None:
    domain.remove(site, "demo.test", force=True)
    domain.add(site, "demo.test", "florist")


def by_hand(site: Site) -> None:
    with site.database.change() as session:
        session.execute(text("DELETE FROM accounts"))


@pytest.mark.parametrize("gone", [by_verb, by_domain, by_hand])
def test_a_new_account_of_the_same_name_has_a_new_folder(site: Site, gone) -> None:  # type: ignore[no-untyped-def]
    seen = []
    for _ in range(3):
        account.add(site, A, WORD)
        seen.append(home(site))
        gone(site)
        forget_when(site)
    assert seen == ["/var/vmail/demo.test/ayse", "/var/vmail/demo.test/ayse@2", "/var/vmail/demo.test/ayse@3"]
    assert [one.path.rpartition("/")[2] for one in mailboxes.every_left(site)] == ["ayse", "ayse@2", "ayse@3"]
    account.add(site, "ayse2@demo.test", WORD)
    assert home(site, "ayse2@demo.test") == "/var/vmail/demo.test/ayse2"


def test_an_account_that_is_only_changed_keeps_its_folder(site: Site) -> None:
    account.add(site, A, WORD)
    account.change(site, A, active=False)
    account.change(site, A, active=True)
    account.set_password(site, A, "password-2")
    account.add(site, A, WORD)
    assert home(site) == "/var/vmail/demo.test/ayse"
    assert mailboxes.every_left(site) == []


def test_an_account_without_a_mailbox_is_given_one(site: Site) -> None:
    account.add(site, A, WORD)
    with site.database.change() as session:
        session.execute(text("UPDATE accounts SET mailbox_id = NULL"))
    assert home(site) == "None"
    account.add(site, A, WORD)
    assert home(site) == "/var/vmail/demo.test/ayse@2"


def test_deliveries_on_their_way_are_waited_for(site: Site) -> None:
    account.add(site, A, WORD)
    account.remove(site, A)
    begun = time.monotonic()
    account.add(site, A, WORD)
    assert time.monotonic() - begun >= 0.5
    begun = time.monotonic()
    account.add(site, A, WORD)
    account.add(site, "other@demo.test", WORD)
    assert time.monotonic() - begun < 0.5


def test_what_is_left_is_deleted_by_the_operator_alone(site: Site, tmp_path: Path) -> None:
    for name in (A, "mehmet@demo.test", "can@other.test"):
        if name.endswith("other.test"):
            domain.add(site, "other.test")
        account.add(site, name, WORD)
        local, _, place = name.partition("@")
        (tmp_path / "vmail" / place / local / "Maildir/new").mkdir(parents=True)
        (tmp_path / "vmail" / place / local / "Maildir/new/1").write_text("secret")
    assert mailboxes.every_left(site) == []
    account.remove(site, A)
    domain.remove(site, "other.test", force=True)
    left = mailboxes.every_left(site)
    assert [(one.address, one.tenant, one.left_at is not None) for one in left] == [
        (A, "bakery", True),
        ("can@other.test", "default", True),
    ]
    assert mailboxes.every_left(site, ["demo.test"]) == left[:1] == mailboxes.every_left(site, [A])
    assert mailboxes.purge(site, ["demo.test"], dry_run=True) == left[:1]
    assert (tmp_path / "vmail/demo.test/ayse/Maildir/new/1").exists()
    with pytest.raises(NotFoundError):
        mailboxes.purge(site, ["mehmet@demo.test"])  # an account's is none that is left

    assert mailboxes.purge(site, ["demo.test"], who="op") == left[:1]
    assert not (tmp_path / "vmail/demo.test/ayse").exists()
    assert (tmp_path / "vmail/demo.test/mehmet/Maildir/new/1").exists()
    assert mailboxes.every_left(site) == left[1:]
    assert audit.every(site, "demo.test")[-1].verb == "mailbox purge"
    mailboxes.purge(site, [], everything=True)
    assert not (tmp_path / "vmail/other.test").exists()
    assert mailboxes.purge(site, [], everything=True) == []
    # A folder that is gone from the disk is not given out again.
    account.add(site, A, WORD)
    assert home(site) == "/var/vmail/demo.test/ayse@2"


def test_a_link_is_not_followed(site: Site, tmp_path: Path) -> None:
    account.add(site, A, WORD)
    account.remove(site, A)
    (tmp_path / "precious").mkdir()
    (tmp_path / "vmail/demo.test").mkdir(parents=True)
    (tmp_path / "vmail/demo.test/ayse").symlink_to(tmp_path / "precious")
    with pytest.raises(PermanentError, match="link"):
        mailboxes.purge(site, [A])
    assert (tmp_path / "precious").exists()
