"""Many domains brought in from a table: made, and what the table says of them set; what is right already is left alone.

A batch of rows is one transaction, and what takes long (keys) is made before it: each change of the directory makes all
who read it forget what they know. Killed in between, what was done stands, and the next run is quick about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin import account, audit, domain_plan
from postane.admin.domain import DEFAULT_TENANT, tenant_row
from postane.admin.domain_facts import DomainDns, Settings, foreseen, merged_own, own_of, set_own
from postane.admin.domain_plan import Planned
from postane.admin.domain_stage import new_token
from postane.admin.domain_table import UNSET, Row, Start
from postane.admin.site import Site
from postane.core.errors import ConflictError, PostaneError
from postane.directory.dkim_keys import ALGORITHMS, Pair, make_keys, new_pair
from postane.directory.passwords import generate_password
from postane.domains.life import Proof, State
from postane.storage.durable import sync_folder, write_file
from postane.storage.ownership import hand_over
from postane.storage.schema import Account, Domain

BATCH = 25  # rows whose domains are made in one transaction
STORE = "initial-passwords"  # folder in the state for passwords that are made here

Told = Callable[[int, int], None]
"""Progress: done, of how many."""

_BEGINS = {Start.HOST: State.CUTOVER, Start.MOVE: State.VERIFIED, Start.CLAIM: State.CLAIMED}
_WORDS = {Start.HOST: "hosted", Start.MOVE: "taken in while its mail is elsewhere", Start.CLAIM: "claimed"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a row. `state`: made, changed, unchanged, failed. `what` was done, in words, or would be.

    `life` is where the domain stands, `password_file` where the password of a new account lies.
    """

    domain: str
    line: int
    state: str
    life: str = ""
    what: tuple[str, ...] = ()
    password_file: str = ""
    error: PostaneError | None = None


@dataclass(frozen=True, slots=True)
class _Here:
    """A domain as it stands in the directory."""

    tenant: str
    state: str
    own: DomainDns


def bring_in(
    site: Site,
    rows: Sequence[Row],
    *,
    dry_run: bool = False,
    store: Path | None = None,
    told: Told = lambda _done, _of: None,
    who: str = "",
) -> list[Imported]:
    """All rows, in their order; one that fails keeps no other one back. `store`: a folder for passwords, STORE else."""
    desk = _Desk(site, store or Path(site.config.state) / STORE, who)
    done: list[Imported] = []
    for start in range(0, len(rows), BATCH):
        done += desk.batch(rows[start : start + BATCH], dry_run)
        told(len(done), len(rows))
    return done


def plan_ahead(site: Site, rows: Sequence[Row], told: Told = lambda _done, _of: None) -> list[Planned]:
    """The plans of records of those domains that a dry run of these rows would make. Of keys there are none yet."""
    with site.database.session() as session:
        here = _domains(session, rows)
    found = []
    for row in rows:
        if row.domain not in here:
            with suppress(PostaneError):  # told by the dry run itself
                domain = _new_domain(row)
                set_own(site, domain, *_said(row))
                found.append(foreseen(site, domain))
    return domain_plan.plan_known(site, found, told=told)


class _Desk:
    def __init__(self, site: Site, store: Path, who: str) -> None:
        self._site = site
        self._store = store
        self._who = who

    def batch(self, rows: Sequence[Row], dry_run: bool) -> list[Imported]:
        with self._site.database.session() as session:
            here = _domains(session, rows)
            query = select(Account).where(Account.address.in_([row.admin for row in rows]))
            quotas = {one.address: one.quota_bytes for one in session.scalars(query)}
        found = [self._decided(row, here.get(row.domain)) for row in rows]
        if not dry_run and any(one.what for one in found):
            found = self._written(rows, found)
        return [
            self._with_account(row, one, quotas.get(row.admin), dry_run) for row, one in zip(rows, found, strict=True)
        ]

    def _decided(self, row: Row, here: _Here | None) -> Imported:
        """What is to be done for the row."""
        life = here.state if here else _BEGINS[_start(row)]
        words: list[str] = []
        try:
            if here is None:
                words.append(_WORDS[_start(row)])
            elif row.tenant and here.tenant != row.tenant:
                raise ConflictError(
                    f"{row.shown} is {here.tenant}'s here, not {row.tenant}'s",
                    hint=f"`postane domain claim {row.shown} --tenant {row.tenant}` notes a claim, "
                    f"`postane domain add {row.shown} --tenant {row.tenant}` moves it by your word",
                )
            before = here.own if here else DomainDns(row.domain, "", (), Settings())
            words += _differences(before, merged_own(self._site, before, *_said(row)))
        except PostaneError as error:
            return Imported(row.domain, row.line, "failed", here.state if here else "", error=error)
        state = "made" if here is None else "changed" if words else "unchanged"
        return Imported(row.domain, row.line, state, life, tuple(words))

    def _written(self, rows: Sequence[Row], found: Sequence[Imported]) -> list[Imported]:
        keys = {
            row.domain: {algorithm: new_pair(algorithm) for algorithm in ALGORITHMS}
            for row, one in zip(rows, found, strict=True)
            if one.state == "made" and one.life != State.CLAIMED
        }
        done = []
        with self._site.database.change() as session:
            here = _domains(session, rows)  # somebody else may have been quicker
            for row in rows:
                one = self._decided(row, here.get(row.domain))
                if one.what:
                    self._write(session, row, one, keys.get(row.domain, {}))
                done.append(one)
        return done

    def _write(self, session: Session, row: Row, one: Imported, pairs: Mapping[str, Pair]) -> None:
        domain = session.scalar(select(Domain).where(Domain.name == row.domain))
        if domain is None:
            domain = _new_domain(row)
            domain.tenant = tenant_row(session, row.tenant or DEFAULT_TENANT)
            session.add(domain)
        set_own(self._site, domain, *_said(row))
        session.flush()
        if pairs:
            make_keys(session, domain, self._site.config.state, self._site.config.dkim.selector_prefix, pairs)
        audit.note(session, self._who, "domain import", row.domain, tenant=domain.tenant.name, what=one.what)

    def _with_account(self, row: Row, one: Imported, octets: int | None, dry_run: bool) -> Imported:
        """With the account of the column `admin`: made, or given another quota. `octets`: that which it has."""
        if not row.admin or one.error is not None:
            return one
        quota = account.parse_quota(row.quota) if row.quota else None
        if octets is not None and quota in (None, octets):
            return one
        words = f"account {row.admin}" if octets is None else f"quota of {row.admin}: {row.quota}"
        told = replace(one, state="changed" if one.state == "unchanged" else one.state, what=(*one.what, words))
        if dry_run:
            return told
        try:
            if octets is not None:
                account.change(self._site, row.admin, quota=quota)
                return told
            file = self._store / row.admin
            made = account.add(self._site, row.admin, self._password(file), quota=quota)
        except PostaneError as error:
            return replace(one, state="failed", error=error)
        return replace(told, password_file=str(file)) if made.made else told

    def _password(self, file: Path) -> str:
        """The one that a run which came no further has left there; else a new one, on the disk before it is used."""
        state = Path(self._site.config.state)
        if not self._store.exists():
            self._store.mkdir(mode=0o700, parents=True)
            hand_over(self._store, state)
            sync_folder(self._store.parent)
        if file.exists() and (kept := file.read_text("utf-8").strip()):
            return kept
        password = generate_password()
        write_file(file, f"{password}\n".encode(), state)
        return password


def _domains(session: Session, rows: Sequence[Row]) -> dict[str, _Here]:
    """What is here of the rows' domains. Raises ConfigError for settings that cannot be read."""
    found: dict[str, _Here] = {}
    names = [row.domain for row in rows]
    for start in range(0, len(names), 500):
        query = select(Domain).where(Domain.name.in_(names[start : start + 500]))
        found |= {one.name: _Here(one.tenant.name, one.state, own_of(one)) for one in session.scalars(query)}
    return found


def _start(row: Row) -> Start:
    return Start(row.start or Start.HOST)


def _new_domain(row: Row) -> Domain:
    """In no session, with what the database would fill in."""
    claimed = _start(row) is Start.CLAIM
    return Domain(
        name=row.domain,
        active=True,
        state=_BEGINS[_start(row)],
        state_since=time.time(),
        proof=Proof.NONE if claimed else Proof.OPERATOR,
        token=new_token() if claimed else "",
        dns_target="",
        kinds="",
        settings="{}",
        came_from="",
    )


def _said(row: Row) -> tuple[str | None, list[str] | None, dict[str, object]]:
    """Target, kinds and settings as `domain_facts.change` takes them."""
    target = _value(row.dns_target)
    keep = _value(row.keep)
    settings: dict[str, object] = {
        name: text
        for name in ("plan", "spf", "dmarc", "mta_sts", "delegation")
        if (text := _value(getattr(row, name))) is not None
    }
    if (ttl := _value(row.ttl)) is not None:
        settings["ttl"] = int(ttl or 0)
    return target, None if keep is None else keep.split(), settings


def _value(cell: str) -> str | None:
    """None for a cell that says nothing."""
    return None if not cell else "" if cell == UNSET else cell


def _differences(before: DomainDns, after: DomainDns) -> list[str]:
    def flat(own: DomainDns) -> dict[str, str]:
        own_settings = {key: str(value) for key, value in msgspec.to_builtins(own.settings).items()}
        return {"dns_target": own.target, "keep": " ".join(own.kinds), **own_settings}

    was, now = flat(before), flat(after)
    return [
        f"{key} {now.get(key) or UNSET}" for key in dict.fromkeys((*was, *now)) if was.get(key, "") != now.get(key, "")
    ]
