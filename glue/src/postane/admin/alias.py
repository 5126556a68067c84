"""Aliases: an address that stands for others, here or away; `*@domain` catches what nothing else has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Change, Site, hosted_domain
from postane.core.address import Address
from postane.core.errors import AddressError, ConflictError, NotFoundError, UsageError
from postane.storage.schema import Account, Alias, AliasTarget


@dataclass(frozen=True, slots=True)
class AliasView:
    address: str
    targets: tuple[str, ...]


def put(site: Site, address: str, targets: Sequence[str]) -> Change[AliasView]:
    """The alias has just these targets afterwards, in order. Raises ConflictError where an account has the name."""
    key, domain = _alias_key(address)
    wanted = tuple(dict.fromkeys(_target(text) for text in targets))
    if not wanted:
        raise UsageError("an alias needs at least one target")
    if key in {Address.parse(text).key for text in wanted}:
        raise UsageError(f"{key} cannot be its own target")
    with site.database.change() as session:
        row = hosted_domain(session, domain)
        if session.scalar(select(Account).where(Account.address == key)) is not None:
            raise ConflictError(f"{key} is an account", hint="an account's copies and forwards are made with Sieve")
        alias = session.scalar(select(Alias).where(Alias.address == key))
        if alias is not None and tuple(t.address for t in alias.targets) == wanted:
            return Change(False, AliasView(key, wanted))
        if alias is None:
            alias = Alias(domain_id=row.id, address=key)
            session.add(alias)
        else:
            alias.targets.clear()
            session.flush()
        alias.targets = [AliasTarget(address=text, position=number) for number, text in enumerate(wanted)]
    return Change(True, AliasView(key, wanted))


def remove(site: Site, address: str) -> Change[AliasView]:
    key, _ = _alias_key(address)
    with site.database.change() as session:
        alias = _alias(session, key)
        view = _view(alias)
        session.delete(alias)
    return Change(True, view)


def every(site: Site, domain: str | None = None) -> list[AliasView]:
    query = select(Alias).order_by(Alias.address)
    with site.database.session() as session:
        if domain is not None:
            query = query.where(Alias.domain_id == hosted_domain(session, domain_name(domain)).id)
        return [_view(alias) for alias in session.scalars(query)]


def show(site: Site, address: str) -> AliasView:
    key, _ = _alias_key(address)
    with site.database.session() as session:
        return _view(_alias(session, key))


def _alias(session: Session, key: str) -> Alias:
    alias = session.scalar(select(Alias).where(Alias.address == key))
    if alias is None:
        raise NotFoundError(f"there is no alias {key}", hint=f"postane alias list {key.rpartition('@')[2]}")
    return alias


def _view(alias: Alias) -> AliasView:
    return AliasView(alias.address, tuple(target.address for target in alias.targets))


def _alias_key(address: str) -> tuple[str, str]:
    """(normal form, domain); `*@domain` is the catch-all."""
    local, at, domain = address.strip().rpartition("@")
    if at and local == "*":
        name = domain_name(domain)
        return f"*@{name}", name
    parsed = mailbox_address(address)
    return parsed.key, parsed.key_domain


def _target(text: str) -> str:
    """Any address mail can go to; the spelling of a remote local part is the remote host's business and stays."""
    address = Address.parse(text.strip())
    if address.key_domain.startswith("["):
        raise AddressError(f"{text!r}: a target is an address with a domain")
    return str(replace(address, domain=domain_name(address.domain)))
