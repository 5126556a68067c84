"""Hosted domains: added with their DKIM keys, shown, switched off and on, removed.

What is added here has the operator's word for its proof; how a tenant's claim is proved is in admin.domain_life.
`who` goes into the audit log.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from postane.admin import audit, certificates, mailboxes
from postane.admin.names import domain_name, own_domain
from postane.admin.site import Change, Site, hosted_domain
from postane.admin.tenant import tenant_name
from postane.core.address import shown_domain
from postane.core.errors import ConflictError
from postane.directory.dkim_keys import keys_of, make_keys
from postane.directory.key import Key, folder_of
from postane.domains.life import Proof, State
from postane.storage.schema import Account, Alias, Domain, Tenant

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class DomainView:
    """`name` are A-labels, `shown` the form for people."""

    name: str
    shown: str
    tenant: str
    active: bool
    accounts: int
    aliases: int


@dataclass(frozen=True, slots=True)
class DkimView:
    """One key and the TXT record that publishes it."""

    selector: str
    algorithm: str
    active: bool
    record_name: str
    record: str


def add(site: Site, name: str, tenant: str | None = None, who: str = "") -> Change[DomainView]:
    """A new domain with its keys, whose mail is ours from now on.

    An existing one is left as it is unless another tenant is named; a mere claim is proved by it.
    """
    key = own_domain(name, site.config.state)
    tenant = None if tenant is None else tenant_name(tenant)
    with site.database.change() as session:
        domain = session.scalar(select(Domain).where(Domain.name == key))
        changed = domain is None
        if domain is None:
            domain = Domain(name=key, tenant=tenant_row(session, tenant or DEFAULT_TENANT), active=True)
            session.add(domain)
            session.flush()
            make_keys(session, domain, site.config.state, site.config.dkim.selector_prefix)
            audit.note(session, who, "domain add", key, tenant=domain.tenant.name)
            return Change(True, view_of(session, domain))
        if tenant is not None and domain.tenant.name != tenant:
            audit.note(session, who, "domain add", key, tenant=tenant, before=domain.tenant.name)
            domain.tenant = tenant_row(session, tenant)
            changed = True
        if domain.state == State.CLAIMED:
            domain.state, domain.state_since, domain.proof = State.VERIFIED, time.time(), Proof.OPERATOR
            domain.holds, domain.check_again_at = "", None
            make_keys(session, domain, site.config.state, site.config.dkim.selector_prefix)
            audit.note(session, who, "domain add", key, state=domain.state, proof=domain.proof)
            changed = True
        return Change(changed, view_of(session, domain))


def set_active(site: Site, name: str, active: bool, who: str = "") -> Change[DomainView]:
    """An inactive domain takes no mail (550) and lets nobody log in; nothing of it is lost."""
    with site.database.change() as session:
        domain = hosted_domain(session, domain_name(name))
        changed = domain.active != active
        domain.active = active
        if changed:
            audit.note(session, who, "domain enable" if active else "domain disable", domain.name)
        return Change(changed, view_of(session, domain))


def remove(site: Site, name: str, *, force: bool = False, who: str = "", why: str = "") -> Change[DomainView]:
    """Removes the domain with its accounts, aliases and keys. Raises ConflictError.

    Mailboxes stay on disk, and are nobody's (admin.mailboxes).
    """
    key = domain_name(name)
    with site.database.change() as session:
        domain = hosted_domain(session, key)
        view = view_of(session, domain)
        if (view.accounts or view.aliases) and not force:
            raise ConflictError(
                f"{view.shown} still has {view.accounts} accounts and {view.aliases} aliases",
                hint="say --force to remove them too; mailboxes on disk stay",
            )
        for alias in session.scalars(select(Alias).where(Alias.domain_id == domain.id)):
            session.delete(alias)
        mailboxes.note_leaving(session, select(Account.mailbox_id).where(Account.domain_id == domain.id))
        session.execute(delete(Account).where(Account.domain_id == domain.id))
        audit.note(session, who, "domain remove", key, tenant=view.tenant, state=domain.state, why=why)
        session.delete(domain)
    # The rows are gone for good before the keys are: a crash in between leaves files that nobody uses.
    shutil.rmtree(folder_of(site.config.state, key), ignore_errors=True)
    certificates.forget(site, key)
    return Change(True, view)


def every(site: Site, tenant: str | None = None) -> list[DomainView]:
    query = select(Domain).order_by(Domain.name)
    if tenant is not None:
        query = query.join(Tenant).where(Tenant.name == tenant)
    with site.database.session() as session:
        return [view_of(session, domain) for domain in session.scalars(query)]


def show(site: Site, name: str) -> DomainView:
    with site.database.session() as session:
        return view_of(session, hosted_domain(session, domain_name(name)))


def keys(site: Site, name: str) -> Sequence[Key]:
    """The domain's DKIM keys. Raises NotFoundError."""
    key = domain_name(name)
    with site.database.session() as session:
        hosted_domain(session, key)
        return keys_of(session, key, site.config.state)


def dkim(site: Site, name: str) -> list[DkimView]:
    key = domain_name(name)
    return [
        DkimView(k.selector, k.algorithm, k.active, f"{k.selector}._domainkey.{key}", k.record)
        for k in keys(site, name)
    ]


def tenant_row(session: Session, name: str) -> Tenant:
    tenant = session.scalar(select(Tenant).where(Tenant.name == name))
    if tenant is None:
        tenant = Tenant(name=name)
        session.add(tenant)
    return tenant


def view_of(session: Session, domain: Domain) -> DomainView:
    def count(table: type[Account] | type[Alias]) -> int:
        return session.scalar(select(func.count(table.id)).where(table.domain_id == domain.id)) or 0

    return DomainView(
        domain.name, shown_domain(domain.name), domain.tenant.name, domain.active, count(Account), count(Alias)
    )
