"""The core.ports.Directory of a process: answers from memory, asks the database in a thread, notices changes.

A recipient is looked up in this order, each step for the address as given and then without its tag:
account, alias, reserved name (postmaster, abuse), catch-all. Aliases are followed to their ends, however deep; each is
followed once, so a loop ends where it closes.
What one process changes every other sees within a quarter of a second (SQLite) or `cache_seconds`.

Reserved names: postmaster@ and abuse@ of a hosted domain always reach somebody (RFC 5321 section 4.5.1, RFC 2142):
the account or alias of that name if there is one, else the oldest account of the domain, else the oldest account of
the tenant, else of the host. postmaster@<host> itself, and the bare <postmaster>, reach the oldest account of all.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.config.model import Directory as Settings
from postane.core.address import Address
from postane.core.envelope import Recipient
from postane.core.errors import AddressError, TemporaryError
from postane.core.ports import Login, Resolved
from postane.directory.dkim_keys import Key, keys_of
from postane.directory.passwords import hash_password, verify_password
from postane.storage.engine import Database, connect_file, sqlite_file
from postane.storage.schema import Account, Alias, Credential, Domain

RESERVED = ("postmaster", "abuse")
_LOOK_FOR_CHANGES = 0.2  # seconds
_LOGIN_LIFE = 300.0  # seconds a successful login is believed again without the slow hash


class Lookup:
    """One for each process, made in it."""

    def __init__(self, database: Database, settings: Settings, host: str, state: str, tag_separator: str = "+") -> None:
        """`state` is the state folder, in which the keys lie."""
        self._database = database
        self._state = state
        self._keys: dict[str, tuple[float, Sequence[Key]]] = {}
        self._settings = settings
        self._host = host
        self._separator = tag_separator
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="directory")
        self._hashing = ThreadPoolExecutor(2, thread_name_prefix="password")
        self._resolved: OrderedDict[str, tuple[float, Resolved]] = OrderedDict()
        self._mailboxes: dict[str, float] = {}  # until when each is believed to be there
        self._logins: dict[bytes, tuple[float, Login]] = {}
        self._secret = os.urandom(32)
        self._changes = _Changes(database.url, settings.cache_seconds)
        self._nobody = hash_password("nobody has this password")

    # -- recipients -----------------------------------------------------------------------------------------------

    def resolve_cached(self, address: Address) -> Resolved | None:
        now = time.monotonic()
        if now >= self._changes.due:
            try:
                self._forget_if_changed()
            except TemporaryError:
                return None  # `resolve` finds it out too, and its caller is ready to hear it
        key = address.key
        found = self._resolved.get(key)
        if found is None:
            return None
        expires, resolved = found
        if expires < now:
            self._resolved.pop(key, None)
            return None
        try:
            # What is asked for stays; names that somebody guesses push only each other out.
            self._resolved.move_to_end(key)
        except KeyError:
            return None  # forgotten by another thread just now
        return resolved

    async def resolve(self, address: Address) -> Resolved:
        known = self.resolve_cached(address)
        if known is not None:
            return known
        generation = self._changes.generation
        resolved = await asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, address)
        if generation != self._changes.generation:
            return resolved  # read before a change, answered after it: good for now, not to be remembered
        self._resolved[address.key] = (time.monotonic() + self._changes.life, resolved)
        while len(self._resolved) > self._settings.cache_entries:
            self._resolved.popitem(last=False)
        return resolved

    def _resolve(self, address: Address) -> Resolved:
        with self._database.session() as session:
            return resolve(session, address, self._host, self._separator)

    async def has_mailbox(self, address: str) -> bool:
        """True if `address` (a normal form) is an active account: asked again at each delivery, mostly from memory."""

        def ask() -> bool:
            with self._database.session() as session:
                return _account(session, address) is not None

        self._forget_if_changed()
        now = time.monotonic()
        if self._mailboxes.get(address, 0.0) > now:
            return True
        generation = self._changes.generation
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        # Only what is there is remembered: nobody can fill the memory with names that are not.
        if found and generation == self._changes.generation:
            if len(self._mailboxes) >= self._settings.cache_entries:
                self._mailboxes.clear()
            self._mailboxes[address] = now + self._changes.life
        return found

    # -- signing --------------------------------------------------------------------------------------------------

    def signing_keys(self, domain: str) -> Sequence[Key]:
        """The active DKIM keys of a hosted domain; may be called from any thread."""
        self._forget_if_changed()
        known = self._keys.get(domain)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        with self._database.session() as session:
            keys = [key for key in keys_of(session, domain, self._state) if key.active]
        self._keys[domain] = (time.monotonic() + min(self._changes.life, 60.0), keys)
        return keys

    # -- logins ---------------------------------------------------------------------------------------------------

    async def authenticate(self, login: str, password: str) -> Login | None:
        """A login is an address in any spelling. A wrong name costs the same hash as a wrong password."""
        self._forget_if_changed()
        proof = hmac.digest(self._secret, f"{login}\0{password}".encode("utf-8", "surrogatepass"), "sha256")
        known = self._logins.get(proof)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        generation = self._changes.generation
        loop = asyncio.get_running_loop()
        found, hashes = await loop.run_in_executor(self._threads, self._credentials, login)
        right = await loop.run_in_executor(self._hashing, _any_right, password, hashes or [self._nobody])
        if found is None or not right:
            return None
        if generation != self._changes.generation:
            return found
        if len(self._logins) > 10_000:
            self._logins.clear()
        self._logins[proof] = (time.monotonic() + min(_LOGIN_LIFE, self._changes.life), found)
        return found

    def _credentials(self, login: str) -> tuple[Login | None, list[str]]:
        try:
            key = Address.parse(login).key
        except AddressError:
            return None, []
        with self._database.session() as session:
            account = _account(session, key)
            if account is None:
                return None, []
            hashes = session.scalars(select(Credential.hash).where(Credential.account_id == account.id)).all()
            return Login(account.address, account.domain.tenant.name), list(hashes)

    async def may_send_as(self, account: str, sender: Address) -> bool:
        own = sender.without_tag(self._separator).key
        if own == account or sender.key == account:
            return True
        resolved = await self.resolve(sender)
        return any(target.kind == "local" and target.address == account for target in resolved.targets)

    def _forget_if_changed(self) -> None:
        if self._changes.seen():
            self._resolved.clear()
            self._mailboxes.clear()
            self._logins.clear()
            self._keys.clear()

    def close(self) -> None:
        self._threads.shutdown()
        self._hashing.shutdown()
        self._changes.close()
        self._database.close()


class _Changes:
    """Tells whether the database was changed by anyone since the last look."""

    def __init__(self, url: str, cache_seconds: float) -> None:
        self._file = sqlite_file(url)
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self.due = 0.0 if self._file is not None else math.inf  # when to look next
        self.generation = 0  # counts the changes that were seen
        # Where changes can be seen an answer is good until one comes; elsewhere for its time only.
        self.life = 3600.0 if self._file is not None else cache_seconds

    def seen(self) -> bool:
        now = time.monotonic()
        if self._file is None or now < self.due:
            return False
        self.due = now + _LOOK_FOR_CHANGES
        try:
            if self._connection is None:
                self._connection = connect_file(self._file, "ro")
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            self.close()
            raise TemporaryError(f"the directory at {self._file} does not answer: {error}") from error
        changed = bool(version != self._version)
        self._version = version
        self.generation += changed
        return changed

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _any_right(password: str, hashes: list[str]) -> bool:
    return any(verify_password(password, stored) for stored in hashes)


# -- the look-up itself: one session, no memory ---------------------------------------------------------------------


def resolve(session: Session, address: Address, host: str, separator: str = "+") -> Resolved:
    """Where mail for `address` goes, by the database as it is now."""
    domain = session.scalar(select(Domain).where(Domain.name == address.key_domain))
    if domain is None:
        if address.key_domain == host and address.key_local in RESERVED:
            oldest = _oldest_account(session, None)
            return Resolved(True, (Recipient(oldest.address),) if oldest else ())
        return Resolved(address.key_domain == host)
    if not domain.active:
        return Resolved(True, (), domain.tenant.name)
    ends: dict[str, Recipient] = {}
    followed: set[str] = set()
    waiting = [address]
    while waiting:  # a list, not recursion: a customer's chain of aliases may be longer than Python's stack
        address = waiting.pop()
        domain_here = session.scalar(select(Domain).where(Domain.name == address.key_domain))
        if domain_here is None:
            ends.setdefault(address.key, Recipient(str(address), kind="remote"))
            continue
        found = _step(session, address, domain_here, separator) if domain_here.active else None
        if isinstance(found, Account):
            ends.setdefault(found.address, Recipient(found.address))
        elif isinstance(found, Alias) and found.address not in followed:
            followed.add(found.address)
            waiting += [Address.parse(target.address) for target in reversed(found.targets)]
    return Resolved(True, tuple(ends.values()), domain.tenant.name)


def _step(session: Session, address: Address, domain: Domain, separator: str) -> Account | Alias | None:
    """What an address of a hosted domain stands for, one step."""
    bare = address.without_tag(separator)
    for candidate in dict.fromkeys((address.key, bare.key)):
        if (found := _account(session, candidate) or _alias(session, candidate)) is not None:
            return found
    if bare.key_local in RESERVED and (keeper := _oldest_account(session, domain)) is not None:
        return keeper
    return _alias(session, f"*@{address.key_domain}")


def _account(session: Session, key: str) -> Account | None:
    """An active account of an active domain."""
    account = session.scalar(select(Account).where(Account.address == key))
    return account if account is not None and account.active and account.domain.active else None


def _alias(session: Session, key: str) -> Alias | None:
    return session.scalar(select(Alias).where(Alias.address == key))


def _oldest_account(session: Session, domain: Domain | None) -> Account | None:
    """Of the domain, else of its tenant, else of the host."""
    query = select(Account).join(Domain).where(Account.active, Domain.active).order_by(Account.id).limit(1)
    if domain is not None:
        own = session.scalar(query.where(Account.domain_id == domain.id))
        own = own or session.scalar(query.where(Domain.tenant_id == domain.tenant_id))
        if own is not None:
            return own
    return session.scalar(query)
