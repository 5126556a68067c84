"""Where accounts keep their mail on the disk, and what those that are gone have left there.

An account's folder is its own for good. Who removes an account, or a domain, or takes a domain over, leaves the folder
where it is, and an account that is made later with the same address gets another one: nobody reads mail of another
owner, whatever led there. What is left is kept until the operator deletes it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from postane.admin import audit
from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Site
from postane.core.errors import NotAllowedError, NotFoundError, PermanentError
from postane.storage.place import sqlite_file, url_of
from postane.storage.schema import Account, Domain, Mailbox

ROOT = Path("/var/vmail")  # as the view mail_users has it
_SEEN = 1.0  # seconds until every process has seen a change, where changes can be seen


@dataclass(frozen=True, slots=True)
class Left:
    """A mailbox without an account. `left_at` seconds since the epoch, None where nobody noted it."""

    id: int
    address: str
    tenant: str
    left_at: float | None
    path: str


def settle(site: Site, address: str) -> None:
    """Waits until every process knows that an account of this address is gone, if it has just gone.

    Else a delivery that still believes in it could go to the one that is about to be made.
    """
    seconds = _SEEN if sqlite_file(url_of(site.config)) is not None else site.config.directory.cache_seconds + _SEEN
    with site.database.session() as session:
        query = select(Mailbox.left_at).where(Mailbox.address == address, Mailbox.left_at.is_not(None))
        last = session.scalar(query.order_by(Mailbox.left_at.desc()).limit(1))
    if last is not None and (rest := last + seconds - time.time()) > 0:
        time.sleep(min(rest, seconds))


def open_mailbox(session: Session, account: Account, domain: Domain) -> None:
    """Gives a new account its own."""
    name = f"{domain.name}/{account.local_part}"
    row = Mailbox(address=account.address, tenant=domain.tenant.name, folder=_free(session, name))
    session.add(row)
    session.flush()
    account.mailbox_id = row.id


def _free(session: Session, name: str) -> str:
    """`demo.test/ayse`, and once that has been somebody's `demo.test/ayse@2`: no local part has an @ in it."""
    taken = set(session.scalars(select(Mailbox.folder).where(Mailbox.folder.in_(("", name)))))
    if not taken:
        return name
    before = session.scalars(select(Mailbox.folder).where(Mailbox.folder.startswith(f"{name}@", autoescape=True)))
    numbers = [int(one.rpartition("@")[2]) for one in before]
    return f"{name}@{max(numbers, default=1) + 1}"


def note_leaving(session: Session, accounts: Select[int | None]) -> None:
    """Of accounts that are about to be removed. `accounts` selects their `mailbox_id`."""
    session.execute(update(Mailbox).where(Mailbox.id.in_(accounts)).values(left_at=time.time()))


def every_left(site: Site, names: Sequence[str] = (), root: Path | None = None) -> list[Left]:
    """What is left on the disk, of addresses or domains, or of all. Raises AddressError."""
    with site.database.session() as session:
        return [_left(row, root or root_of(site)) for row in session.scalars(_query(names))]


def purge(
    site: Site,
    names: Sequence[str],
    *,
    everything: bool = False,
    dry_run: bool = False,
    root: Path | None = None,
    who: str = "",
) -> list[Left]:
    """Deletes the mail of these addresses or domains that is left. Who was interrupted runs it again.

    Raises NotFoundError, NotAllowedError, PermanentError for a folder that is not what it should be.
    """
    place = root or root_of(site)
    found = every_left(site, names, place)
    if not found and not everything:
        raise NotFoundError(f"{', '.join(names)}: nothing is left of it", hint="postane mailbox list")
    if dry_run:
        return found
    for one in found:
        _delete(place, Path(one.path))
        with site.database.change() as session:
            session.execute(update(Mailbox).where(Mailbox.id == one.id).values(removed_at=time.time()))
            audit.note(
                session, who, "mailbox purge", one.address.rpartition("@")[2], address=one.address, path=one.path
            )
    return found


def root_of(site: Site) -> Path:
    """The folder of all mailboxes on this host."""
    delivery = site.config.delivery
    return Path(delivery.maildir) if delivery.local == "maildir" else ROOT


def folder_of(session: Session, address: str) -> str:
    """The folder of an account, below the root; "" if there is no such account."""
    query = select(Mailbox.folder).join(Account, Account.mailbox_id == Mailbox.id).where(Account.address == address)
    return session.scalar(query) or ""


def _query(names: Sequence[str]) -> Select[Mailbox]:
    accounts = select(Account.mailbox_id).where(Account.mailbox_id.is_not(None))
    query = select(Mailbox).where(Mailbox.id.not_in(accounts), Mailbox.removed_at.is_(None), Mailbox.address != "")
    if names:
        addresses = [mailbox_address(name).key for name in names if "@" in name]
        domains = [domain_name(name) for name in names if "@" not in name]
        within = (Mailbox.address.endswith(f"@{name}", autoescape=True) for name in domains)
        query = query.where(or_(Mailbox.address.in_(addresses), *within))
    return query.order_by(Mailbox.address, Mailbox.id)


def _left(row: Mailbox, root: Path) -> Left:
    return Left(row.id, row.address, row.tenant, row.left_at, str(root / row.folder))


def _delete(root: Path, path: Path) -> None:
    try:
        if path.is_symlink() or path.parent.is_symlink() or root not in path.parents:
            raise PermanentError(f"{path} is a link: it was not made by Postane, and is left alone")
        if path.exists():
            shutil.rmtree(path)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    except PermissionError as error:
        raise NotAllowedError(f"{error.filename}: not allowed", hint="mailboxes are deleted by root") from error
