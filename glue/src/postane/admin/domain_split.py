"""Addresses of a domain whose mailboxes are still at the host that it comes from: their mail goes on to that host.

Only addresses that are listed: a host that would take mail for any name, to find out later that nobody has it, would
send bounces to whoever a spammer names as the sender. An account that is made for one takes it off the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from postane.admin import audit
from postane.admin.domain_stage import life_of
from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Change, Site, hosted_domain
from postane.core.address import shown_domain
from postane.core.errors import ConflictError, UsageError
from postane.domains.life import State
from postane.storage.schema import Account, Alias, Elsewhere


@dataclass(frozen=True, slots=True)
class SplitView:
    """`hosts` get the mail of `addresses`, the preferred first."""

    domain: str
    hosts: tuple[str, ...]
    addresses: tuple[str, ...]


def change(
    site: Site, name: str, add: Sequence[str] = (), remove: Sequence[str] = (), who: str = ""
) -> Change[SplitView]:
    """Lists some and takes others off. Raises UsageError, ConflictError (an account, an alias, no earlier MX known)."""
    key = domain_name(name)
    wanted, unwanted = _of(key, add), _of(key, remove)
    with site.database.change() as session:
        row = hosted_domain(session, key)
        life = life_of(row)
        if wanted and life.state is State.CLAIMED:
            raise ConflictError(f"{shown_domain(key)} is only claimed: none of its mail is taken")
        if wanted and not life.old_mx.hosts:
            raise ConflictError(
                f"no earlier MX of {shown_domain(key)} is known",
                hint=f"postane domain show {shown_domain(key)} --look, while its MX still is the old one",
            )
        for table in (Account, Alias):
            here = session.scalar(select(table.address).where(table.address.in_(wanted)))
            if here is not None:
                raise ConflictError(f"{here} is here: its mail stays here")
        listed = set(session.scalars(select(Elsewhere.address).where(Elsewhere.domain_id == row.id)))
        news = [one for one in wanted if one not in listed]
        gone = [one for one in unwanted if one in listed]
        session.add_all(Elsewhere(domain_id=row.id, address=one) for one in news)
        session.execute(delete(Elsewhere).where(Elsewhere.address.in_(gone)))
        if news or gone:
            audit.note(session, who, "domain split", key, added=len(news), removed=len(gone))
        addresses = tuple(sorted((listed | set(news)) - set(gone)))
        return Change(bool(news or gone), SplitView(key, life.old_mx.hosts, addresses))


def _of(domain: str, addresses: Sequence[str]) -> list[str]:
    """Normal forms, without tags. Raises AddressError, UsageError for one of another domain."""
    found = [mailbox_address(one) for one in addresses]
    for one in found:
        if one.key_domain != domain:
            raise UsageError(f"{one.key} is no address of {shown_domain(domain)}")
    return list(dict.fromkeys(one.key for one in found))
