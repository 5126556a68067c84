"""The core.ports.Directory of a process: answers from memory, asks the database in a thread, notices changes.

A recipient is looked up in this order, each step for the address as given and then without its tag:
account, alias, reserved name (postmaster, abuse), catch-all. Aliases are followed to their ends, however deep; each is
followed once, so a loop ends where it closes.
What one process changes every other sees within a quarter of a second (SQLite) or `cache_seconds`.

Reserved names: postmaster@ and abuse@ of a hosted domain always reach somebody (RFC 5321 section 4.5.1, RFC 2142):
the account or alias of that name if there is one, else the oldest account of the domain, else the oldest account of
the tenant, else of the host. postmaster@<host> itself, and the bare <postmaster>, reach the oldest account of all.

Where a domain stands in its life (domains.life) decides what of this holds. One that nobody has proved is as foreign
as any that is not here, and so are its people. Verified or in shadow its mail lies elsewhere yet: only accounts and
aliases that are here by name are ours, all other names of it are foreign. Addresses that the operator has listed as
still elsewhere are taken at any stage, and their mail goes on to the host that the domain comes from. A suspended one
takes nothing and lets nobody in; what is on the way to its mailboxes already still arrives.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import os
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from postane.config.model import Directory as Settings
from postane.core.address import Address
from postane.core.envelope import Recipient
from postane.core.errors import AddressError, TemporaryError
from postane.core.ports import Login, Mailbox, Resolved
from postane.directory.key import Key
from postane.directory.passwords import NOBODY, verify_password
from postane.storage.place import connect_file, sqlite_file
from postane.storage.reader import Ask, Reader, Row

RESERVED = ("postmaster", "abuse")
_LOOK_FOR_CHANGES = 0.2  # seconds
_LOGIN_LIFE = 300.0  # seconds a successful login is believed again without the slow hash


class Lookup:
    """One for each process, made in it."""

    def __init__(self, reader: Reader, settings: Settings, host: str, state: str, tag_separator: str = "+") -> None:
        """`state` is the state folder, in which the keys lie."""
        self._reader = reader
        self._state = state
        self._keys: dict[str, tuple[float, Sequence[Key]]] = {}
        self._settings = settings
        self._host = host
        self._separator = tag_separator
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="directory")
        # One: there are as many workers as cores, and each thread keeps the 19 MiB of its last hash.
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._resolved = _Memory(settings.cache_entries)
        # Names that somebody guesses push only each other out.
        self._unknown = _Memory(max(settings.cache_entries // 10, 1))
        self._mailboxes: dict[str, tuple[float, Mailbox]] = {}  # until when each is believed to be there
        self._logins: dict[bytes, tuple[float, Login]] = {}
        self._secret = os.urandom(32)
        self._changes = _Changes(reader.url, settings.cache_seconds)

    # -- recipients -----------------------------------------------------------------------------------------------

    def resolve_cached(self, address: Address) -> Resolved | None:
        now = time.monotonic()
        if now >= self._changes.due:
            try:
                self._forget_if_changed()
            except TemporaryError:
                return None  # `resolve` finds it out too, and its caller is ready to hear it
        key = address.key
        return self._resolved.get(key, now) or self._unknown.get(key, now)

    async def resolve(self, address: Address) -> Resolved:
        known = self.resolve_cached(address)
        if known is not None:
            return known
        generation = self._changes.generation
        resolved = await asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, address)
        if generation != self._changes.generation:
            return resolved  # read before a change, answered after it: good for now, not to be remembered
        memory = self._resolved if resolved.targets else self._unknown
        memory.put(address.key, resolved, time.monotonic() + self._changes.life)
        return resolved

    def _resolve(self, address: Address) -> Resolved:
        with self._reader.snapshot() as ask:
            return resolve(ask, address, self._host, self._separator)

    async def mailbox(self, address: str) -> Mailbox | None:
        """That of `address` (a normal form) if it is an active account: asked at each delivery, mostly from memory."""

        def look() -> Mailbox | None:
            with self._reader.snapshot() as ask:
                return next((Mailbox(*row) for row in ask(_MAILBOX, address=address)), None)

        self._forget_if_changed()
        now = time.monotonic()
        known = self._mailboxes.get(address)
        if known is not None and known[0] > now:
            return known[1]
        generation = self._changes.generation
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        # Only what is there is remembered: nobody can fill the memory with names that are not.
        if found is not None and generation == self._changes.generation:
            if len(self._mailboxes) >= self._settings.cache_entries:
                self._mailboxes.clear()
            self._mailboxes[address] = (now + self._changes.life, found)
        return found

    async def old_hosts(self, domain: str) -> Sequence[str]:
        """The servers that had a domain's mail before it came here, the preferred first. Raises TemporaryError."""

        def look() -> Sequence[Row]:
            with self._reader.snapshot() as ask:
                return ask(_OLD_HOSTS, name=domain)

        rows = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        return [host for (text,) in rows for host in json.loads(text).get("hosts", ())]

    def policy(self, address: str, section: str) -> tuple[str, ...]:
        """What tenant, domain and account want of a section of the configuration, the widest first, as JSON documents.

        Asks the database: call it in a thread. Raises TemporaryError.
        """
        with self._reader.snapshot() as ask:
            return _section(ask, address, address.rpartition("@")[2], section)

    # -- signing --------------------------------------------------------------------------------------------------

    def signing_keys(self, domain: str) -> Sequence[Key]:
        """The active DKIM keys of a hosted domain; may be called from any thread."""
        self._forget_if_changed()
        known = self._keys.get(domain)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        with self._reader.snapshot() as ask:
            rows = ask(_KEYS, name=domain)
        keys = [Key.of(self._state, domain, selector, kind, public, True) for selector, kind, public in rows]
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
        right = await loop.run_in_executor(self._hashing, _any_right, password, hashes or [NOBODY])
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
        with self._reader.snapshot() as ask:
            rows = ask(_CREDENTIALS, address=key)
            wishes = _wishes(ask, key, key.rpartition("@")[2]) if rows else ()
        return (Login(key, rows[0][1], wishes), [hashed for hashed, _ in rows]) if rows else (None, [])

    async def may_send_as(self, account: str, sender: Address) -> bool:
        own = sender.without_tag(self._separator).key
        if own == account or sender.key == account:
            return True
        resolved = await self.resolve(sender)
        return any(target.kind == "local" and target.address == account for target in resolved.targets)

    def _forget_if_changed(self) -> None:
        if self._changes.seen():
            self._resolved.clear()
            self._unknown.clear()
            self._mailboxes.clear()
            self._logins.clear()
            self._keys.clear()

    def close(self) -> None:
        self._threads.shutdown()
        self._hashing.shutdown()
        self._changes.close()
        self._reader.close()


class _Memory:
    """Answers by address, each for its time; what was not asked for the longest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[str, tuple[float, Resolved]] = OrderedDict()

    def get(self, key: str, now: float) -> Resolved | None:
        found = self._answers.get(key)
        if found is None:
            return None
        expires, resolved = found
        if expires < now:
            self._answers.pop(key, None)
            return None
        with suppress(KeyError):  # forgotten by another thread just now
            self._answers.move_to_end(key)
        return resolved

    def put(self, key: str, resolved: Resolved, expires: float) -> None:
        self._answers[key] = (expires, resolved)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        self._answers.clear()

    def __len__(self) -> int:
        return len(self._answers)


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


# -- the look-up itself: one state of the database, no memory ---------------------------------------------------------

_DOMAIN = """
    SELECT domains.id, domains.tenant_id, domains.active, tenants.name,
        domains.state, domains.refusal, domains.came_from
    FROM domains JOIN tenants ON tenants.id = domains.tenant_id
    WHERE domains.name = :name AND domains.state NOT IN ('claimed', 'removed')"""
# An account has no alias's number, an alias no mailbox, what is elsewhere the number -1. The domain is known to be
# active when this is asked.
_NAMES = """
    SELECT address, 0, mailbox_id FROM accounts WHERE address IN (:whole, :bare) AND active
    UNION ALL SELECT address, id, 0 FROM aliases WHERE address IN (:whole, :bare, :rest)
    UNION ALL SELECT address, -1, 0 FROM elsewhere WHERE address IN (:whole, :bare)"""
_OLD_HOSTS = "SELECT old_mx FROM domains WHERE name = :name"
_TARGETS = "SELECT address FROM alias_targets WHERE alias_id = :alias ORDER BY position"
_OLDEST = """
    SELECT accounts.address, accounts.mailbox_id FROM accounts JOIN domains ON domains.id = accounts.domain_id
    WHERE accounts.active AND domains.active AND domains.state NOT IN ('claimed', 'suspended', 'removed')
    AND domains.came_from NOT LIKE '%suspended%' {}
    ORDER BY accounts.id LIMIT 1"""
_MAILBOX = """
    SELECT mailboxes.id, mailboxes.folder, mailboxes.made_at
    FROM accounts JOIN domains ON domains.id = accounts.domain_id JOIN mailboxes ON mailboxes.id = accounts.mailbox_id
    WHERE accounts.address = :address AND accounts.active AND domains.active
    AND domains.state NOT IN ('claimed', 'removed')"""
_CREDENTIALS = """
    SELECT credentials.hash, tenants.name FROM accounts
    JOIN domains ON domains.id = accounts.domain_id JOIN tenants ON tenants.id = domains.tenant_id
    JOIN credentials ON credentials.account_id = accounts.id
    WHERE accounts.address = :address AND accounts.active AND domains.active
    AND domains.state NOT IN ('claimed', 'suspended', 'removed') AND domains.came_from NOT LIKE '%suspended%'"""
_SIBLINGS = """
    SELECT siblings.name FROM domains JOIN domains AS siblings ON siblings.tenant_id = domains.tenant_id
    WHERE domains.name = :domain AND siblings.state NOT IN ('claimed', 'removed') ORDER BY siblings.name"""
_ANY_POLICY = "SELECT 1 FROM policies LIMIT 1"
_POLICIES = """
    SELECT document, 0 FROM policies JOIN domains ON policies.tenant_id = domains.tenant_id
    WHERE domains.name = :domain
    UNION ALL SELECT document, 1 FROM policies JOIN domains ON policies.domain_id = domains.id
    WHERE domains.name = :domain
    UNION ALL SELECT document, 2 FROM policies JOIN accounts ON policies.account_id = accounts.id
    WHERE accounts.address = :address
    ORDER BY 2"""
_KEYS = """
    SELECT dkim_keys.selector, dkim_keys.algorithm, dkim_keys.public_key
    FROM dkim_keys JOIN domains ON domains.id = dkim_keys.domain_id
    WHERE domains.name = :name AND dkim_keys.active ORDER BY dkim_keys.id"""


def _is_away(domain: Row) -> bool:
    """True if the domain's mail lies elsewhere yet, but for the names that are here; also suspended or leaving."""
    return str(domain[6] or domain[4]).startswith(("verified", "shadow"))


def _is_open(domain: Row) -> bool:
    """Neither switched off nor suspended, be it leaving besides."""
    return bool(domain[2]) and "suspended" not in (domain[4], *domain[6].split())


def resolve(ask: Ask, address: Address, host: str, separator: str = "+") -> Resolved:
    """Where mail for `address` goes, by the database as it is now."""
    domains: dict[str, Row | None] = {}

    def domain_of(name: str) -> Row | None:
        if name not in domains:
            domains[name] = next(iter(ask(_DOMAIN, name=name)), None)
        return domains[name]

    domain = domain_of(address.key_domain)
    if domain is None:
        if address.key_domain == host and address.key_local in RESERVED:
            return Resolved(True, tuple(_oldest_account(ask, None)))
        return Resolved(address.key_domain == host)
    tenant = domain[3]
    if not _is_open(domain):
        return (
            Resolved(False) if _is_away(domain) else Resolved(True, (), tenant, closed=domain[5] if domain[2] else "")
        )
    asked = address
    ends: dict[str, Recipient] = {}
    followed: set[int] = set()
    waiting = [address]
    while waiting:  # a list, not recursion: a customer's chain of aliases may be longer than Python's stack
        address = waiting.pop()
        domain = domain_of(address.key_domain)
        if domain is None:
            ends.setdefault(address.key, Recipient(str(address), kind="remote"))
            continue
        away = _is_away(domain)
        account, alias = _step(ask, address, domain, separator, by_name=away) if _is_open(domain) else (None, 0)
        if away and not (account or alias):
            if address is asked:
                return Resolved(False)
            ends.setdefault(address.key, Recipient(str(address), kind="remote"))
        elif account:
            ends.setdefault(account.address, account)
        elif alias and alias not in followed:
            followed.add(alias)
            waiting += [Address.parse(target) for (target,) in reversed(ask(_TARGETS, alias=alias))]
    return Resolved(True, tuple(ends.values()), tenant, _policies(ask, ends.values(), asked.key_domain))


def _policies(ask: Ask, targets: Collection[Recipient], domain: str) -> Mapping[str, tuple[str, ...]]:
    """What each target wants of the filters; for one elsewhere it is what the domain wants that leads there."""
    if not targets or not ask(_ANY_POLICY):
        return {}
    wishes = {}
    for target in targets:
        own = domain if target.kind == "remote" else target.address.rpartition("@")[2]
        if wanted := _wishes(ask, target.address, own):
            wishes[target.address] = wanted
    return wishes


def _section(ask: Ask, address: str, domain: str, name: str) -> tuple[str, ...]:
    """A section of the policies of tenant, domain and account, those that have it, as JSON."""
    documents = [json.loads(text) for text, _ in ask(_POLICIES, address=address, domain=domain)]
    return tuple(json.dumps(one[name], sort_keys=True) for one in documents if one.get(name))


def _wishes(ask: Ask, address: str, domain: str) -> tuple[str, ...]:
    """The `filters` part of the policies of tenant, domain and account, those that have one."""
    # Thousands of entries of a domain are one text in memory, whatever the number of its accounts.
    wishes = tuple(map(sys.intern, _section(ask, address, domain, "filters")))
    if any('"members"' in wish for wish in wishes):
        # Who may write to an address may be whoever has one of the tenant's, whose domains come and go.
        names = [name for (name,) in ask(_SIBLINGS, domain=domain)]
        wishes = (sys.intern(json.dumps({"options": {"lists": {"domains": names}}})), *wishes)
    return wishes


def _step(ask: Ask, address: Address, domain: Row, separator: str, *, by_name: bool) -> tuple[Recipient | None, int]:
    """What an address of an active domain stands for, one step: an account, or an alias's number, or nothing (0).

    `by_name`: neither reserved names nor a catch-all take what is not there by name.
    """
    bare = address.without_tag(separator)
    whole, rest = address.key, f"*@{address.key_domain}"
    accounts: dict[str, Recipient] = {}
    aliases: dict[str, int] = {}
    for name, alias, mailbox in ask(_NAMES, whole=whole, bare=bare.key, rest=rest):
        if alias < 0:
            accounts.setdefault(name, Recipient(str(address), kind="elsewhere"))
        elif alias:
            aliases[name] = alias
        else:
            accounts[name] = _local(name, mailbox)
    for name in (whole, bare.key):
        if name in accounts:
            return accounts[name], 0
        if name in aliases:
            return None, aliases[name]
    if by_name:
        return None, 0
    if bare.key_local in RESERVED:
        for oldest in _oldest_account(ask, domain):
            return oldest, 0
    return None, aliases.get(rest, 0)


def _local(address: str, mailbox: int | None) -> Recipient:
    """An account that an earlier version made after an upgrade has no mailbox yet: it gets no mail, and loses none."""
    return Recipient(address, mailbox=mailbox or 0)


def _oldest_account(ask: Ask, domain: Row | None) -> list[Recipient]:
    """Of the domain, else of its tenant, else of the host; empty if there is none at all."""
    rows: Sequence[Row] = ()
    if domain is not None:
        rows = ask(_OLDEST.format("AND accounts.domain_id = :domain"), domain=domain[0])
        rows = rows or ask(_OLDEST.format("AND domains.tenant_id = :tenant"), tenant=domain[1])
    return [_local(*row) for row in rows or ask(_OLDEST.format(""))]
