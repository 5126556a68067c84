"""What other servers report about hosted domains: taken in from files, shown, and summed up for a domain's life."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from postane.admin.names import domain_name
from postane.admin.site import Site, hosted_domain
from postane.core.errors import PermanentError
from postane.domains import reports
from postane.storage.schema import Domain, Report, ReportSource

DAY = 86_400.0
KEPT = 400 * DAY
MOST = reports.MOST_PACKED


@dataclass(frozen=True, slots=True)
class Summary:
    """`aligned`: share of mail that was authentic, None without any; `tls_failed`: of sessions without valid TLS.

    `days` and `tls_days` are those that there is a report of.
    """

    aligned: float | None = None
    days: int = 0
    tls_failed: float | None = None
    tls_days: int = 0


NONE = Summary()


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a file. `state`: taken, known (it was there), foreign (of a domain that is not here), refused."""

    file: str
    state: str
    kind: str = ""
    domain: str = ""
    reporter: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What reports say of one source, all together. `last` is the end of the last report, seconds since the epoch."""

    source: str
    passed: int
    failed: int
    reporters: tuple[str, ...]
    last: float


@dataclass(frozen=True, slots=True)
class Shown:
    domain: str
    kind: str
    days: int
    passed: int
    failed: int
    sources: tuple[Source, ...]


def take_in(site: Site, files: Sequence[tuple[str, bytes]]) -> list[Taken]:
    """Reports by the names of their files; one that is there already counts once. What is wrong with one is told."""
    taken: list[Taken] = []
    for name, octets in files:
        try:
            found = reports.read(octets)
        except PermanentError as error:
            taken.append(Taken(name, "refused", why=str(error)))
            continue
        with site.database.change() as session:
            taken += [_take(session, name, one) for one in found]
    with site.database.change() as session:
        session.execute(delete(Report).where(Report.ends < time.time() - KEPT))
    return taken


def read_file(path: Path) -> bytes:
    """Not more than is needed to refuse it. Raises OSError."""
    with path.open("rb") as file:
        return file.read(reports.MOST_PACKED + 1)


def show(site: Site, name: str, kind: str, since: float) -> Shown:
    """Sources with the most failures first. Raises NotFoundError."""
    with site.database.session() as session:
        row = hosted_domain(session, domain_name(name))
        query = select(ReportSource, Report).join(Report, Report.id == ReportSource.report_id)
        found: dict[str, list[tuple[ReportSource, Report]]] = defaultdict(list)
        for line, report in session.execute(_of(query, row.id, kind, since)):
            found[line.source].append((line, report))
        sources = [
            Source(
                source,
                sum(line.passed for line, _ in lines),
                sum(line.failed for line, _ in lines),
                tuple(sorted({report.reporter for _, report in lines})),
                max(report.ends for _, report in lines),
            )
            for source, lines in found.items()
        ]
        passed, failed, days = _sums(session, row.id, kind, since)
    return Shown(
        row.name, kind, days, passed, failed, tuple(sorted(sources, key=lambda one: (-one.failed, -one.passed)))
    )


def summary(session: Session, domain_id: int, since: float) -> Summary:
    passed, failed, days = _sums(session, domain_id, "dmarc", since)
    tls_passed, tls_failed, tls_days = _sums(session, domain_id, "tls", since)
    return Summary(
        passed / (passed + failed) if passed + failed else None,
        days,
        tls_failed / (tls_passed + tls_failed) if tls_passed + tls_failed else None,
        tls_days,
    )


def _take(session: Session, name: str, found: reports.Report) -> Taken:
    domain = session.scalar(select(Domain).where(Domain.name == found.domain, Domain.state != "claimed"))
    told = (found.kind, found.domain, found.reporter)
    if domain is None:
        return Taken(name, "foreign", *told)
    query = select(Report.id).where(
        Report.domain_id == domain.id,
        Report.kind == found.kind,
        Report.reporter == found.reporter,
        Report.report_id == found.report_id,
    )
    if session.scalar(query) is not None:
        return Taken(name, "known", *told)
    row = Report(domain_id=domain.id, kind=found.kind, reporter=found.reporter, report_id=found.report_id)
    row.begins, row.ends = found.begins, found.ends
    session.add(row)
    session.flush()
    session.add_all(
        ReportSource(report_id=row.id, source=one.source, passed=one.passed, failed=one.failed) for one in found.rows
    )
    return Taken(name, "taken", *told)


def _of(query, domain_id: int, kind: str, since: float):  # type: ignore[no-untyped-def]
    return query.where(Report.domain_id == domain_id, Report.kind == kind, Report.begins >= since)


def _sums(session: Session, domain_id: int, kind: str, since: float) -> tuple[int, int, int]:
    """Passed, failed, and the days that there is a report of."""
    counts = select(func.sum(ReportSource.passed), func.sum(ReportSource.failed)).join(
        Report, Report.id == ReportSource.report_id
    )
    passed, failed = session.execute(_of(counts, domain_id, kind, since)).one()
    begun = session.scalars(_of(select(Report.begins), domain_id, kind, since))
    return int(passed or 0), int(failed or 0), len({at // DAY for at in begun})
