"""Policies: what a tenant, a domain or an account changes of the configuration's sections `filters` and `quarantine`.

The nearest wins: account, domain, tenant, server (see filters.policies). A policy is checked together with those it
is laid over before it is kept, so a worker never meets one that it cannot use.

What is the host's own matter (where a service listens, what bounds protect it) no policy changes. What a tenant, a
domain's admin or an account changes by themselves is less than what the operator may: `by_owner`, and `possible`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Change, Site, hosted_domain
from postane.config.load import WrongValueError
from postane.config.model import Config, Quarantine
from postane.core.errors import NotAllowedError, NotFoundError, UsageError
from postane.filters import policies
from postane.filters.registry import filter_class, known
from postane.storage.schema import Account, Domain, Policy, Tenant

SECTIONS = ("filters", "quarantine")
QUARANTINE = ("days", "digest", "language")  # of the section's keys, those that are not the host's own matter

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose policy: "tenant:NAME", "domain:NAME" or an account's address."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Raises UsageError, AddressError."""
        kind, colon, name = text.strip().partition(":")
        if colon and kind in ("tenant", "domain"):
            return cls(kind, domain_name(name) if kind == "domain" else name)
        if "@" in text:
            return cls("account", mailbox_address(text).key)
        raise UsageError(f"{text!r} is none of tenant:NAME, domain:NAME and an account's address")

    def __str__(self) -> str:
        return self.name if self.kind == "account" else f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class PolicyView:
    scope: str
    document: Document


def get(site: Site, scope: Scope) -> PolicyView:
    """What the scope itself says; empty if nothing. Raises NotFoundError if there is no such owner."""
    with site.database.session() as session:
        return PolicyView(str(scope), _documents(session, scope)[-1])


def every(site: Site) -> list[PolicyView]:
    """All policies, tenants first."""
    query = (
        select(Policy.document, Tenant.name, Domain.name, Account.address)
        .outerjoin(Tenant, Policy.tenant_id == Tenant.id)
        .outerjoin(Domain, Policy.domain_id == Domain.id)
        .outerjoin(Account, Policy.account_id == Account.id)
        .order_by(Policy.tenant_id.is_(None), Policy.domain_id.is_(None), Tenant.name, Domain.name, Account.address)
    )
    with site.database.session() as session:
        return [
            PolicyView(f"tenant:{tenant}" if tenant else f"domain:{domain}" if domain else account, json.loads(text))
            for text, tenant, domain, account in session.execute(query)
        ]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a policy may have. `owner`: its owner may change it, else only the operator."""

    key: str
    owner: bool


def possible() -> list[Key]:
    """All keys that a policy may have."""
    found = [Key("filters.suspect", True), Key("filters.use", False)]
    for name in sorted(known()):
        try:
            judge = filter_class(name)
        except WrongValueError:
            continue  # of a package that is broken
        found += [
            Key(f"filters.options.{name}.{field.encode_name}", field.encode_name in judge.owner)
            for field in msgspec.structs.fields(judge.options_type)
            if field.encode_name not in judge.host
        ]
    return found + [Key(f"quarantine.{name}", True) for name in QUARANTINE]


def change(
    site: Site, scope: Scope, mutate: Callable[[Document], None], *, by_owner: bool = False
) -> Change[PolicyView]:
    """`mutate` changes the document in place; what comes out is checked and kept, and an empty one is removed.

    Raises NotFoundError, UsageError for what the filters do not know or no policy may change, and NotAllowedError for
    what only the operator may.
    """
    with site.database.change() as session:
        *wider, before = _documents(session, scope)
        after = copy.deepcopy(before)
        mutate(after)
        after = _without_empty(after)
        if after == before:
            return Change(False, PolicyView(str(scope), before))
        _check(site.config, [*wider, after])
        if by_owner:
            _check_owner(before, after)
        _put(session, scope, after)
    return Change(True, PolicyView(str(scope), after))


def set_key(site: Site, scope: Scope, key: str, value: object, *, by_owner: bool = False) -> Change[PolicyView]:
    """`key` as in the configuration: "filters.suspect", "filters.options.rspamd.reject"."""
    *folders, last = _path(key)

    def mutate(document: Document) -> None:
        inner = document
        for folder in folders:
            inner = inner.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{key}: {folder} holds a value and no keys")
        inner[last] = value

    return change(site, scope, mutate, by_owner=by_owner)


def unset_key(site: Site, scope: Scope, key: str, *, by_owner: bool = False) -> Change[PolicyView]:
    """The wider levels hold again. A key that was not set is no error."""
    *folders, last = _path(key)

    def mutate(document: Document) -> None:
        inner: Any = document
        for folder in folders:
            inner = inner.get(folder)
            if not isinstance(inner, dict):
                return
        inner.pop(last, None)

    return change(site, scope, mutate, by_owner=by_owner)


@dataclass(frozen=True, slots=True)
class Held:
    """One setting that holds, and who said so: "server" or a scope."""

    key: str
    value: Any
    by: str


def effective(site: Site, scope: Scope) -> list[Held]:
    """All settings that hold for the scope, with where each comes from. Raises NotFoundError."""
    with site.database.session() as session:
        levels = list(zip(_scopes(session, scope), _documents(session, scope), strict=True))
    server = {name: msgspec.to_builtins(getattr(site.config, name)) for name in SECTIONS}
    held: dict[str, Held] = {}
    for by, document in [("server", server), *levels]:
        for key, value in _leaves(document):
            held[key] = Held(key, value, str(by))
    return [held[key] for key in sorted(held)]


def wishes_of(site: Site, address: str) -> tuple[str, ...]:
    """What an account, its domain and its tenant want of the filters, the widest first; () for an address elsewhere."""
    try:
        scope = Scope.parse(address)
        with site.database.session() as session:
            return tuple(filter(None, map(filters_of, _documents(session, scope))))
    except NotFoundError:
        return ()


def filters_of(document: Mapping[str, Any]) -> str:
    """The part of a policy that the filters read, as filters.policies wants it; "" if there is none."""
    wanted = document.get("filters")
    return json.dumps(wanted, sort_keys=True) if wanted else ""


# -- inside -------------------------------------------------------------------------------------------------------


def _path(key: str) -> list[str]:
    parts = key.split(".")
    if parts[0] not in SECTIONS or len(parts) < 2 or not all(parts):
        raise UsageError(
            f"{key!r} is no key of a policy", hint="such as filters.suspect or filters.options.rspamd.reject"
        )
    return parts


def _check(config: Config, documents: list[Document]) -> None:
    unknown = documents[-1].keys() - set(SECTIONS)
    if unknown:
        raise UsageError(f"a policy has no section {min(unknown)!r}; it may have {' and '.join(SECTIONS)}")
    try:
        texts = [text for text in map(filters_of, documents) if text]
        policies.check(config.filters, texts)
        for name, given in policies.read(filters_of(documents[-1]) or "{}").options.items():
            policies.settle(name, given)  # of filters that are not in use now, too
    except WrongValueError as error:
        raise UsageError(str(error)) from error
    wanted = documents[-1].get("quarantine", {})
    if other := set(wanted) - set(QUARANTINE):
        raise UsageError(f"quarantine.{min(other)}: a policy may change {', '.join(QUARANTINE)}")
    try:
        msgspec.convert({**msgspec.to_builtins(config.quarantine), **wanted}, Quarantine)
    except msgspec.ValidationError as error:
        raise UsageError(f"quarantine: {error}") from error


def _check_owner(before: Document, after: Document) -> None:
    """Raises NotAllowedError."""
    held, wanted = (dict(_leaves(document)) for document in (before, after))
    changed = {key for key in held.keys() | wanted.keys() if held.get(key) != wanted.get(key)}
    open_to_owners = tuple(one.key for one in possible() if one.owner)
    for key in sorted(changed):
        if not any(key == one or key.startswith(f"{one}.") for one in open_to_owners):
            raise NotAllowedError(f"{key} is the operator's to change")


def _scopes(session: Session, scope: Scope) -> list[Scope]:
    """Of the tenant, of the domain, of the account, as far as the scope goes."""
    if scope.kind == "tenant":
        return [scope]
    domain = hosted_domain(session, scope.name if scope.kind == "domain" else scope.name.rpartition("@")[2])
    scopes = [Scope("tenant", domain.tenant.name), Scope("domain", domain.name)]
    return scopes if scope.kind == "domain" else [*scopes, scope]


def _documents(session: Session, scope: Scope) -> list[Document]:
    found: list[Document] = []
    for level in _scopes(session, scope):
        row = session.scalar(select(Policy).where(_belongs(session, level)))
        found.append(json.loads(row.document) if row is not None else {})
    return found


def _belongs(session: Session, scope: Scope) -> Any:
    column, number = _owner(session, scope)
    return getattr(Policy, column) == number


def _owner(session: Session, scope: Scope) -> tuple[str, int]:
    """The column that names the owner, and its value. Raises NotFoundError."""
    row: Tenant | Domain | Account | None
    if scope.kind == "tenant":
        row = session.scalar(select(Tenant).where(Tenant.name == scope.name))
    elif scope.kind == "domain":
        row = hosted_domain(session, scope.name)
    else:
        row = session.scalar(select(Account).where(Account.address == scope.name))
    if row is None:
        raise NotFoundError(f"there is no {scope.kind} {scope.name}", hint=f"postane {scope.kind} list")
    return f"{scope.kind}_id", row.id


def _put(session: Session, scope: Scope, document: Document) -> None:
    column, number = _owner(session, scope)
    row = session.scalar(select(Policy).where(getattr(Policy, column) == number))
    if not document:
        session.delete(row)
        return
    if row is None:
        row = Policy()
        setattr(row, column, number)
        session.add(row)
    row.document = json.dumps(document, sort_keys=True, ensure_ascii=False)


def _without_empty(document: Document) -> Document:
    kept = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in document.items()}
    return {key: value for key, value in kept.items() if value != {}}


def _leaves(document: Mapping[str, Any], lead: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{lead}{key}.")
        else:
            yield f"{lead}{key}", value
