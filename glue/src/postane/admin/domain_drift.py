"""Hosted domains compared with the world now and then; what is not right is kept, told, and mended where it is ours.

Comparing is that of admin.domain_plan, deciding that of domains.drift. A look is taken first and outside of any
transaction; what follows from it is written in one for each batch, so that a run that is killed loses one batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from postane.admin import audit, dns_targets, domain_facts, domain_plan
from postane.admin.domain_findings import (
    WATCHES,
    State,
    case_of,
    findings,
    follow,
    kept,
    view,
    watched,
    write,
)
from postane.admin.domain_plan import Planned, Told
from postane.admin.names import domain_name
from postane.admin.site import Site, hosted_domain
from postane.core.address import shown_domain
from postane.core.errors import ConflictError, PostaneError
from postane.core.ports import Now
from postane.domains import drift, drift_cases
from postane.domains.drift import Drift, Look
from postane.domains.drift_cases import Case
from postane.observe import scrape
from postane.observe.metrics import Metrics
from postane.storage.schema import Domain, DriftFinding, DriftLook
from postane.tls.store import Store

BATCH = 200  # domains that are looked at and written together
WORKER = "drift"  # under which a round shows what it counts


@dataclass(slots=True)
class Round:
    """What a round has done: domains looked at, questions put to servers, what was, or would be, put back ("a.test:
    record"), and what could not be ("a.test: why").
    """

    looked: int = 0
    asked: int = 0
    seconds: float = 0.0
    repaired: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    name: str
    stood: frozenset[str]
    repair: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    row: _Row
    parts: tuple[Planned, ...]
    look: Look
    asked: int


class Watch:
    """The verbs. `servers_port` is another than 53 in tests."""

    def __init__(self, site: Site, now: Now = time.time, servers_port: int = 53) -> None:
        self._site = site
        self._now = now
        self._port = servers_port
        self._writable: dict[str, bool] = {}  # targets by name

    def state(self, names: Sequence[str] | None = None, *, over: bool = False) -> State:
        """What is not right by the last looks; `over`: also what was, within the last month. Raises NotFoundError."""
        chosen = None if names is None else {domain_name(name) for name in names}
        with self._site.database.session() as session:
            rows = [row for row in watched(session) if chosen is None or row.name in chosen]
            if chosen is not None:
                _hosted(session, chosen)
            looks = {row[0]: row[1] for row in session.execute(select(DriftLook.domain_id, DriftLook.looked_at))}
            cases = [(name, case_of(row)) for row, name in kept(session) if chosen is None or name in chosen]
        views = [view(self._shown(name), case) for name, case in cases if over or case.ended_at is None]
        seen = [looks[row.id] for row in rows if row.id in looks]
        return State(tuple(views), len(rows), len(rows) - len(seen), min(seen, default=None))

    def look(
        self,
        names: Sequence[str] | None = None,
        *,
        repair: bool | None = False,
        dry_run: bool = False,
        who: str = "",
        told: Told | None = None,
    ) -> Round:
        """Compares these domains with the world now; None: all that are watched. `repair` None leaves it to settings.

        Raises NotFoundError, ConflictError for one that is not watched.
        """
        with self._site.database.session() as session:
            rows = {row.name: row for row in watched(session)}
            if names is not None:
                chosen = [domain_name(name) for name in names]
                _hosted(session, chosen)
                for name in chosen:
                    if name not in rows:
                        raise ConflictError(
                            f"{shown_domain(name)} is not watched: it is not proved yet, leaves, or is switched off"
                        )
                wanted = list(dict.fromkeys(chosen))
            else:
                wanted = sorted(rows)
        return self._round(wanted, repair, dry_run, who, told)

    def due(self, limit: int = 1000, *, who: str = "") -> Round:
        """For a timer: the domains whose time has come, what is ours put back as settings have it, the operator told,
        and figures shown.
        """
        with self._site.database.session() as session:
            query = select(Domain.name).outerjoin(DriftLook, DriftLook.domain_id == Domain.id)
            query = query.where(*WATCHES, or_(DriftLook.due_at.is_(None), DriftLook.due_at <= self._now()))
            names = list(session.scalars(query.order_by(DriftLook.due_at.nulls_first(), Domain.id).limit(limit)))
        done = self._round(names, None, False, who, None)
        self._tell(done)
        self._show(done)
        return done

    # -- a round --------------------------------------------------------------------------------------------------

    def _round(self, names: Sequence[str], repair: bool | None, dry_run: bool, who: str, told: Told | None) -> Round:
        done, began = Round(), time.monotonic()
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            self._batch(batch, done, repair, dry_run, who)
            if told is not None:
                told(start + len(batch), len(names))
        done.seconds = time.monotonic() - began
        return done

    def _batch(self, names: Sequence[str], done: Round, repair: bool | None, dry_run: bool, who: str) -> None:
        seen = self._see(names)
        done.looked += len(seen)
        done.asked += sum(one.asked for one in seen)
        now = self._now()
        mends: list[tuple[_Row, Planned]] = []
        with self._site.database.change() as session:
            there = set(session.scalars(select(Domain.id).where(Domain.id.in_([one.row.id for one in seen]))))
            for one in seen:
                if one.row.id not in there:
                    continue  # removed meanwhile
                cases = follow(session, one.row.id, one.look, now)
                plans = [part.plan for part in one.parts if part.plan is not None]
                stood = drift.remembered(one.row.stood, one.look, plans)
                _note(session, one, stood, now, self._due(one.row, cases, now))
                if one.row.repair if repair is None else repair:
                    mends += [(one.row, part) for part in _mends(one.parts, cases, word=repair is True)]
            if seen:
                follow(session, None, self._host(seen), now)
        self._mend(mends, done, now, who, dry_run=dry_run)

    def _due(self, row: _Row, cases: Iterable[Case], now: float) -> float:
        return drift_cases.due(row.name, cases, self._site.config.domains.watch_every, now)

    def _see(self, names: Sequence[str]) -> list[_Seen]:
        with self._site.database.session() as session:
            rows = {row.name: row for row in watched(session, names)}
            ids = [row.id for row in rows.values()]
            query = select(DriftLook.domain_id, DriftLook.stood).where(DriftLook.domain_id.in_(ids))
            looks = {row[0]: row[1] for row in session.execute(query)}
        if not rows:
            return []
        parts: dict[str, list[Planned]] = {}
        for one in domain_plan.plan(self._site, list(rows), servers_port=self._port):
            parts.setdefault(one.domain, []).append(one)
        store = Store(Path(self._site.config.state))
        found = []
        for name, row in rows.items():
            known = _Row(row.id, name, frozenset(looks.get(row.id, "").splitlines()), self._repairs(row))
            looked = [self._look(part, known.stood) for part in parts[name]]
            look = drift.together(looked)
            if (held := store.read(name)) is not None:
                look = replace(look, found=(*look.found, *self._ending(held.not_after, name)))
            asked = sum(part.snapshot.asked for part in parts[name] if part.snapshot)
            found.append(_Seen(known, tuple(parts[name]), look, asked))
        return found

    def _look(self, part: Planned, stood: frozenset[str]) -> Look:
        if part.plan is None or part.snapshot is None or part.facts is None:
            return drift.away(str(part.error))
        name = part.plan.target
        if name not in self._writable:
            self._writable[name] = dns_targets.target(self._site, name).writable
        return drift.see(
            part.facts,
            part.plan,
            part.snapshot,
            part.owned,
            stood,
            merged=part.merged,
            writable=self._writable[name],
        )

    def _ending(self, not_after: float, subject: str) -> list[drift.Found]:
        return drift.ending(not_after, self._site.config.certificates.ending_days, self._now(), subject)

    def _host(self, seen: Sequence[_Seen]) -> Look:
        """What is about this host: told by the first plan of a run (see admin.domain_plan)."""
        facts = next((part.facts for one in seen for part in one.parts if part.facts and part.facts.reverse), None)
        look = drift.reverse(facts) if facts is not None else Look((), deaf=bool(self._site.config.dns.addresses))
        with suppress(OSError, ValueError):
            certificate = Path(self._site.config.tls.certificate).read_bytes()
            ends_at = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
            look = replace(look, found=(*look.found, *self._ending(ends_at, self._site.config.host)))
        return look

    def _repairs(self, row: Domain) -> bool:
        own = domain_facts.settings_of(row).repair
        return own == "on" if own else self._site.config.domains.repair

    # -- mending --------------------------------------------------------------------------------------------------

    def _mend(self, mends: Sequence[tuple[_Row, Planned]], done: Round, now: float, who: str, *, dry_run: bool) -> None:
        if not mends:
            return
        if dry_run:
            done.repaired += [f"{row.name}: {record}" for row, part in mends if part.plan for record in part.plan.add]
            return
        applied = domain_plan.apply(self._site, [part for _, part in mends])
        with self._site.database.change() as session:
            for (row, part), one in zip(mends, applied, strict=True):
                if one.state != "done" or part.plan is None:
                    done.failed.append(f"{row.name}: {one.error or 'its records are put in by hand'}")
                    continue
                records = [str(record) for record in part.plan.add]
                done.repaired += [f"{row.name}: {record}" for record in records]
                subjects = {f"{line.record.name} {line.record.type}" for line in part.plan.lines if line.record}
                rows = findings(session, row.id)
                for finding, case in zip(rows, drift_cases.mended(map(case_of, rows), subjects, now), strict=True):
                    write(finding, case)
                audit.note(session, who, "domain drift repair", row.name, records=records)

    # -- telling --------------------------------------------------------------------------------------------------

    def _tell(self, done: Round) -> None:
        """Before it is noted that the operator was told: who is told twice after a crash is told."""
        settings, now = self._site.config.domains, self._now()
        if not settings.alarm_to:
            return
        with self._site.database.session() as session:
            cases = {case.id: (self._shown(name), case) for row, name in kept(session) if (case := case_of(row))}
        untold = drift_cases.news([case for _, case in cases.values()], now)
        last = max((case.told_at for _, case in cases.values() if case.told_at is not None), default=None)
        if not drift_cases.mail_is_due(untold, last, now):
            return
        from postane.admin.domain_alarm import send

        told = [cases.pop(case.id) for case in untold]
        try:
            send(self._site.config, told, sum(case.open for _, case in cases.values()), now)
        except (PostaneError, OSError) as error:
            done.failed.append(f"nobody could be told: {error}")
            return
        with self._site.database.change() as session:
            for _, case in told:
                if (row := session.get(DriftFinding, case.id)) is not None:
                    row.told_at = now
        done.told = True

    def _shown(self, name: str) -> str:
        return shown_domain(name) if name else self._site.config.host

    def _show(self, done: Round) -> None:
        """Figures of a process that ends at once: see observe.scrape."""
        with self._site.database.session() as session:
            cases = [case_of(row) for row, _ in kept(session)]
            count = len(watched(session))
        metrics, opened = Metrics(), Counter(case.kind for case in cases if case.open)
        for kind in Drift:
            text = "Findings of the comparison with the world that are open"
            metrics.gauge("postane_drift_findings", text, opened[kind], kind=kind)
        pending = sum(case.pending for case in cases)
        metrics.gauge("postane_drift_pending", "Findings that have to be seen once more", pending)
        metrics.gauge("postane_drift_domains", "Domains that are compared with the world", count)
        metrics.gauge("postane_drift_round_at", "When the last round ended, seconds since the epoch", self._now())
        metrics.gauge("postane_drift_round_seconds", "How long the last round took", done.seconds)
        metrics.count("postane_drift_looks", "Domains looked at", done.looked)
        metrics.count("postane_drift_questions", "Questions to name servers about them", done.asked)
        text = "Records put back"
        metrics.count("postane_drift_repairs", text, len(done.repaired), outcome="done")
        metrics.count("postane_drift_repairs", text, len(done.failed), outcome="failed")
        with suppress(OSError):  # no figure is worth a round
            scrape.keep(Path(self._site.config.runtime) / scrape.FOLDER, WORKER, metrics)


def _mends(parts: Iterable[Planned], cases: Sequence[Case], *, word: bool) -> Iterable[Planned]:
    for part in parts:
        if part.plan is not None and (plan := drift_cases.mend(part.plan, cases, word=word)) is not None:
            yield replace(part, plan=plan)


def _note(session: Session, one: _Seen, stood: Iterable[str], now: float, due_at: float) -> None:
    row = session.get(DriftLook, one.row.id)
    if row is None:
        row = DriftLook(domain_id=one.row.id)
        session.add(row)
    row.looked_at, row.due_at = now, due_at
    row.stood, row.asked = "\n".join(sorted(stood)), one.asked


def _hosted(session: Session, names: Iterable[str]) -> None:
    """Raises NotFoundError for one that is not."""
    for name in names:
        hosted_domain(session, name)
