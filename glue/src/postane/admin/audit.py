"""Who did what, when and to what: written in the transaction that does it, so neither is there without the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin.site import Site
from postane.storage.schema import Audit

MOST = 1000  # entries that are shown at once


@dataclass(frozen=True, slots=True)
class AuditView:
    """`at` in seconds since the epoch; `scope` is what it was done to, a domain; `detail` has what is worth telling."""

    at: float
    who: str
    verb: str
    scope: str
    detail: dict[str, Any]


def note(session: Session, who: str, verb: str, scope: str, **detail: object) -> None:
    """`who` empty: Postane by itself. Of `detail` what is empty is left out."""
    told = {key: value for key, value in detail.items() if value not in ("", None, (), [])}
    session.add(Audit(who=who or "postane", verb=verb, scope=scope, detail=msgspec.json.encode(told).decode()))


def every(site: Site, scope: str = "", since: float = 0.0, limit: int = MOST) -> list[AuditView]:
    """The newest entries, oldest of them first."""
    query = select(Audit).where(Audit.at >= since).order_by(Audit.id.desc()).limit(limit)
    if scope:
        query = query.where(Audit.scope == scope)
    with site.database.session() as session:
        rows = list(session.scalars(query))
    return [AuditView(one.at, one.who, one.verb, one.scope, msgspec.json.decode(one.detail)) for one in reversed(rows)]
