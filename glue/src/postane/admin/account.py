"""Accounts: a mailbox with a password and, if wanted, a quota."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from postane.admin import mailboxes
from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Change, Site, hosted_domain
from postane.core.errors import ConflictError, NotFoundError, UsageError
from postane.directory.passwords import hash_password, verify_password
from postane.storage.schema import Account, Alias, Credential, Elsewhere

_QUOTA = re.compile(r"(?P<number>[0-9]{1,12}) *(?P<unit>[KMGT]?)(?:i?B)?", re.IGNORECASE)
MIN_PASSWORD = 8
_MOST_QUOTA = 1 << 50  # a pebibyte: far below what the database can hold, and more than any mailbox


@dataclass(frozen=True, slots=True)
class AccountView:
    """`quota_bytes` 0: no quota."""

    address: str
    display_name: str
    quota_bytes: int
    active: bool


def parse_quota(text: str) -> int:
    """`500M`, `2G`, `0` (none) → octets, in powers of 1024. Raises UsageError."""
    found = _QUOTA.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no quota; write 500M, 2G, or 0 for none")
    exponent = " KMGT".index(found["unit"].upper() or " ")
    octets = int(found["number"]) << 10 * exponent
    if octets > _MOST_QUOTA:
        raise UsageError(f"{text!r} is too much for a mailbox; write 0 for no limit")
    return octets


def add(
    site: Site,
    address: str,
    password: str,
    *,
    display_name: str | None = None,
    quota: int | None = None,
    least: int = MIN_PASSWORD,
) -> Change[AccountView]:
    """A new account. An existing one keeps its password; a name or quota that is given is set.

    `least`: characters that a password must have.
    """
    wanted = mailbox_address(address)
    _check_name(display_name)
    mailboxes.settle(site, wanted.key)
    with site.database.change() as session:
        account = session.scalar(select(Account).where(Account.address == wanted.key))
        if account is not None:
            if account.mailbox_id is None:  # made by an earlier version, after this one had upgraded the directory
                mailboxes.open_mailbox(session, account, account.domain)
            return Change(_set(account, display_name, quota, None), _view(account))
        domain = hosted_domain(session, wanted.key_domain)
        session.execute(delete(Elsewhere).where(Elsewhere.address == wanted.key))  # its mailbox has been moved
        if session.scalar(select(Alias).where(Alias.address == wanted.key)) is not None:
            raise ConflictError(f"{wanted.key} is an alias", hint=f"postane alias remove {wanted.key}")
        _check_password(password, least)
        account = Account(
            domain=domain,
            address=wanted.key,
            local_part=wanted.key_local,
            display_name=display_name or "",
            quota_bytes=quota or 0,
            active=True,
        )
        mailboxes.open_mailbox(session, account, domain)
        session.add(account)
        session.flush()
        session.add(Credential(account_id=account.id, kind="main", hash=hash_password(password)))
        return Change(True, _view(account), made=True)


def change(
    site: Site, address: str, *, display_name: str | None = None, quota: int | None = None, active: bool | None = None
) -> Change[AccountView]:
    """Sets what is not None. An inactive account takes no mail and lets nobody in; its mailbox stays."""
    _check_name(display_name)
    with site.database.change() as session:
        account = _account(session, address)
        return Change(_set(account, display_name, quota, active), _view(account))


def set_password(site: Site, address: str, password: str, *, least: int = MIN_PASSWORD) -> Change[AccountView]:
    """Unchanged if the account has just this password already, so that a second run changes nothing."""
    _check_password(password, least)
    with site.database.change() as session:
        account = _account(session, address)
        main = _main_credential(session, account)
        if main is None:
            session.add(Credential(account_id=account.id, kind="main", hash=hash_password(password)))
        elif verify_password(password, main.hash):
            return Change(False, _view(account))
        else:
            main.hash = hash_password(password)
        return Change(True, _view(account))


def check_password(site: Site, address: str, password: str) -> bool:
    """True if a login with this password would succeed now."""
    with site.database.session() as session:
        account = _account(session, address)
        main = _main_credential(session, account)
        if main is None or not account.active or not account.domain.active:
            return False
        return verify_password(password, main.hash)


def remove(site: Site, address: str) -> Change[AccountView]:
    """Removes the account. Its mailbox stays on disk, for nobody (admin.mailboxes); queued mail for it bounces."""
    with site.database.change() as session:
        account = _account(session, address)
        view = _view(account)
        mailboxes.note_leaving(session, select(Account.mailbox_id).where(Account.id == account.id))
        session.delete(account)
        return Change(True, view)


def every(site: Site, domain: str | None = None) -> list[AccountView]:
    query = select(Account).order_by(Account.address)
    with site.database.session() as session:
        if domain is not None:
            query = query.where(Account.domain_id == hosted_domain(session, domain_name(domain)).id)
        return [_view(account) for account in session.scalars(query)]


def show(site: Site, address: str) -> AccountView:
    with site.database.session() as session:
        return _view(_account(session, address))


def _account(session: Session, address: str) -> Account:
    key = mailbox_address(address).key
    account = session.scalar(select(Account).where(Account.address == key))
    if account is None:
        raise NotFoundError(f"there is no account {key}", hint=f"postane account list {key.rpartition('@')[2]}")
    return account


def _main_credential(session: Session, account: Account) -> Credential | None:
    return session.scalar(select(Credential).where(Credential.account_id == account.id, Credential.kind == "main"))


def _set(account: Account, display_name: str | None, quota: int | None, active: bool | None) -> bool:
    wanted = {"display_name": display_name, "quota_bytes": quota, "active": active}
    news = {name: value for name, value in wanted.items() if value is not None and getattr(account, name) != value}
    for name, value in news.items():
        setattr(account, name, value)
    return bool(news)


def _check_password(password: str, least: int) -> None:
    if len(password) < least:
        raise UsageError(f"a password has at least {least} characters")
    if "\0" in password or "\n" in password or len(password) > 512:
        raise UsageError("a password has no line end and no NUL, and at most 512 characters")
    if not password.isascii():
        try:
            password.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the password is no text in UTF-8") from error


def _check_name(display_name: str | None) -> None:
    # It goes into mail headers and pages: no line ends, no marks that cannot be seen.
    if display_name is not None and (len(display_name) > 200 or not display_name.isprintable()):
        raise UsageError("a name has at most 200 characters, all of them visible")


def _view(account: Account) -> AccountView:
    return AccountView(account.address, account.display_name, account.quota_bytes, account.active)
