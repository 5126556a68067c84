"""Tenants: whose domains they are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from postane.admin.site import Change, Site
from postane.core.errors import ConflictError, NotFoundError, UsageError
from postane.storage.schema import Domain, Tenant


@dataclass(frozen=True, slots=True)
class TenantView:
    name: str
    domains: int


def tenant_name(text: str) -> str:
    """Raises UsageError for what cannot be a tenant's name."""
    name = text.strip()
    if not name or len(name) > 64 or not name.isprintable():
        raise UsageError(f"{text!r}: a tenant's name has 1 to 64 printable characters")
    return name


def add(site: Site, name: str) -> Change[TenantView]:
    name = tenant_name(name)
    with site.database.change() as session:
        if session.scalar(select(Tenant).where(Tenant.name == name)) is not None:
            return Change(False, TenantView(name, _domains(site, name)))
        session.add(Tenant(name=name))
    return Change(True, TenantView(name, 0))


def remove(site: Site, name: str) -> Change[TenantView]:
    with site.database.change() as session:
        tenant = session.scalar(select(Tenant).where(Tenant.name == name))
        if tenant is None:
            raise NotFoundError(f"there is no tenant {name!r}", hint="postane tenant list")
        if domains := session.scalar(select(func.count(Domain.id)).where(Domain.tenant_id == tenant.id)):
            raise ConflictError(f"{name!r} still has {domains} domains", hint="remove or move them first")
        session.delete(tenant)
    return Change(True, TenantView(name, 0))


def every(site: Site) -> list[TenantView]:
    with site.database.session() as session:
        rows = session.execute(
            select(Tenant.name, func.count(Domain.id))
            .outerjoin(Domain, Domain.tenant_id == Tenant.id)
            .group_by(Tenant.name)
            .order_by(Tenant.name)
        )
        return [TenantView(name, count) for name, count in rows]


def _domains(site: Site, name: str) -> int:
    return next((tenant.domains for tenant in every(site) if tenant.name == name), 0)
