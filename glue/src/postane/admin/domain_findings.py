"""Findings of drift as the directory keeps them, and as verbs show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from postane.domains import drift_cases
from postane.domains.drift import WATCHED, Drift, Look
from postane.domains.drift_cases import Case
from postane.domains.drift_words import todo, what
from postane.storage.schema import Domain, DriftFinding

WATCHES = (Domain.active, Domain.state.in_(WATCHED))


@dataclass(frozen=True, slots=True)
class FindingView:
    """`domain` is this host's name for what is about the host. `standing`: open, pending (to be seen again), repaired
    or over. Times are seconds since the epoch.
    """

    domain: str
    kind: str
    subject: str
    standing: str
    what: str
    todo: str
    first_seen: float
    last_seen: float
    repairs: int
    repaired_at: float | None
    ended_at: float | None
    told_at: float | None


@dataclass(frozen=True, slots=True)
class State:
    """What is known without asking anybody. `unlooked` of the `watched` domains have never been looked at."""

    findings: tuple[FindingView, ...]
    watched: int
    unlooked: int
    oldest_look: float | None

    @property
    def open(self) -> int:
        return sum(one.standing == "open" for one in self.findings)


def view(name: str, case: Case) -> FindingView:
    """`name` is as people write it."""
    repaired = case.ended_at is not None and case.repaired_at == case.ended_at
    standing = "open" if case.open else "pending" if case.pending else "repaired" if repaired else "over"
    return FindingView(
        name,
        case.kind,
        case.subject,
        standing,
        what(case),
        todo(case, name),
        case.first_seen,
        case.last_seen,
        case.repairs,
        case.repaired_at,
        case.ended_at,
        case.told_at,
    )


def watched(session: Session, names: Sequence[str] | None = None) -> list[Domain]:
    """Those of these names that are compared with the world; None: all."""
    query = select(Domain).where(*WATCHES).order_by(Domain.name)
    return list(session.scalars(query if names is None else query.where(Domain.name.in_(names))))


def kept(session: Session) -> list[tuple[DriftFinding, str]]:
    """The findings of all that are watched, each with the name of its domain, "" for this host's."""
    query = select(DriftFinding, Domain.name).outerjoin(Domain, Domain.id == DriftFinding.domain_id)
    query = query.where(or_(DriftFinding.domain_id.is_(None), and_(*WATCHES)))
    rows = session.execute(query.order_by(Domain.name, DriftFinding.first_seen, DriftFinding.id))
    return [(row, name or "") for row, name in rows]


def findings(session: Session, domain_id: int | None) -> list[DriftFinding]:
    """Of a domain, or of this host."""
    of = DriftFinding.domain_id.is_(None) if domain_id is None else DriftFinding.domain_id == domain_id
    return list(session.scalars(select(DriftFinding).where(of).order_by(DriftFinding.id)))


def follow(session: Session, domain_id: int | None, look: Look, now: float) -> list[Case]:
    """What is kept of a domain, or of the host, after a look; written."""
    rows = {row.id: row for row in findings(session, domain_id)}
    after = drift_cases.follow(map(case_of, rows.values()), look, now)
    for case in after:
        row = rows.pop(case.id, None)
        if row is None:
            row = DriftFinding(domain_id=domain_id, kind=str(case.kind), subject=case.subject)
            session.add(row)
        write(row, case)
    for row in rows.values():
        session.delete(row)
    return after


def case_of(row: DriftFinding) -> Case:
    return Case(
        Drift(row.kind),
        row.subject,
        row.data,
        row.first_seen,
        row.last_seen,
        row.looks,
        row.seen,
        row.ours,
        row.repairs,
        row.repaired_at,
        row.ended_at,
        row.told_at,
        row.id,
    )


def write(row: DriftFinding, case: Case) -> None:
    row.data, row.first_seen, row.last_seen = case.data, case.first_seen, case.last_seen
    row.looks, row.seen, row.ours, row.repairs = case.looks, case.seen, case.ours, case.repairs
    row.repaired_at, row.ended_at, row.told_at = case.repaired_at, case.ended_at, case.told_at
