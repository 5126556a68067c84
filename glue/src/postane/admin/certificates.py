"""Certificates of hosted domains: what there is, what is due, and the run that asks for it.

What is in place is never taken away by a failure: a new certificate takes the place of the old one when it is whole and
found to be good, and not sooner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from postane.admin.names import domain_name
from postane.admin.site import Site
from postane.core.errors import ConfigError, NotFoundError, PostaneError
from postane.domains.life import State
from postane.storage.schema import Domain
from postane.tls.ledger import Ledger, Record
from postane.tls.names import covers
from postane.tls.schedule import DAY, Reason, Standing, Turn, judge
from postane.tls.store import Held, Store

Told = Callable[[int, int], None]
"""Progress: done, of how many."""

# Whose domain it is not, or no more.
NOT_OURS = (State.CLAIMED, State.REMOVED)


def silent(_done: int, _of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Row:
    """`state`: good, ending, ended, failing, missing, none (no name leads here). `next` and `ends`: seconds since the
    epoch, 0 for never.
    """

    domain: str
    state: str
    names: tuple[str, ...]
    ends: float
    next: float
    issuer: str
    why: str


@dataclass(frozen=True, slots=True)
class Detail:
    """All that is known of one domain's certificate. `left_out`: service names without one, and why."""

    row: Row
    begins: float
    serial: str
    folder: str
    certified: tuple[str, ...]
    left_out: dict[str, str]
    failures: int
    directory: str
    advice: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Done:
    """What a run did about one domain. `state`: issued, tried (staging), would order, held, waits, failed, good, none.

    `reason` is one of schedule.Reason, `at` when it will be looked at again.
    """

    domain: str
    state: str
    reason: str = ""
    names: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    at: float = 0.0
    why: str = ""
    error: PostaneError | None = None


def listed(site: Site) -> list[Row]:
    """Every domain that is ours, by name."""
    store = Store(Path(site.config.state))
    ledger = Ledger(store)
    now = time.time()
    names = ours(site, None)
    gone = [one for one in store.domains() if one not in set(names)]
    return [row_of(site, one, store.read(one), ledger.of(one), now) for one in sorted([*names, *gone])]


def shown(site: Site, name: str) -> Detail:
    """Raises NotFoundError."""
    domain = domain_name(name)
    store = Store(Path(site.config.state))
    held = store.read(domain)
    if held is None:
        ours(site, [domain])
    record = Ledger(store).of(domain)
    return Detail(
        row_of(site, domain, held, record, time.time()),
        held.not_before if held else 0.0,
        held.serial if held else "",
        str(held.folder) if held else "",
        held.names if held else (),
        record.left_out,
        record.fault.failures,
        record.directory,
        (record.advice.start, record.advice.end) if record.advice else None,
    )


def renew(
    site: Site,
    names: Sequence[str] | None,
    *,
    dry_run: bool = False,
    staging: bool = False,
    told: Told = silent,
) -> list[Done]:
    """Asks for what is due; of named domains for all, whatever holds them back.

    `staging` asks the trial authority and puts nothing in place. Raises ConfigError where no authority is configured,
    NotFoundError, TemporaryError while another run is at work.
    """
    from postane.admin.certificate_run import run  # the library of ACME is not loaded to show a list

    settings = site.config.certificates
    if not (settings.staging if staging else settings.directory):
        raise ConfigError(
            f"certificates.{'staging' if staging else 'directory'} is empty: no authority is asked",
            hint="for example https://acme-v02.api.letsencrypt.org/directory",
        )
    chosen = ours(site, None if names is None else [domain_name(name) for name in names])
    return run(site, chosen, asked=names is not None, dry_run=dry_run, staging=staging, told=told)


def forget(site: Site, name: str) -> bool:
    """Removes the certificate of a domain that is no longer ours; False if there was none."""
    store = Store(Path(site.config.state))
    return store.forget(domain_name(name))


def ours(site: Site, names: Sequence[str] | None) -> list[str]:
    """Of these domains (A-labels), or all: those that are proved to be somebody's here. Raises NotFoundError."""
    with site.database.session() as session:
        states = {row.name: row.state for row in session.execute(select(Domain.name, Domain.state))}
    for name in names or ():
        if name not in states:
            raise NotFoundError(f"{name} is not hosted here", hint=f"postane domain add {name}")
        if states[name] in NOT_OURS:
            raise NotFoundError(f"{name} is {states[name]}", hint=f"postane domain verify {name}")
    return [name for name in (sorted(states) if names is None else names) if states[name] not in NOT_OURS]


def standing(domain: str, held: Held | None, record: Record, *, more: bool = False) -> Standing:
    """As the schedule sees it."""
    advice = record.advice
    return Standing(
        domain,
        held.not_before if held else 0.0,
        held.not_after if held else 0.0,
        advice,
        more,
        record.fault.failures,
        record.fault.retry_at,
    )


def row_of(site: Site, domain: str, held: Held | None, record: Record, now: float) -> Row:
    turn = judge(standing(domain, held, record), now)
    why = record.fault.why or "; ".join(f"{name}: {one}" for name, one in sorted(record.left_out.items()))
    state = state_of(site, held, record, now)
    wanted = turn.reason is not Reason.GOOD or not record.fault.why
    at = max(record.look_at, turn.at) if state == "none" else turn.at
    served = tuple(record.names) or (held.names if held else ())
    return Row(domain, state, served, held.not_after if held else 0.0, at if wanted else turn.at, _issuer(held), why)


def state_of(site: Site, held: Held | None, record: Record, now: float) -> str:
    if held is None:
        return "failing" if record.fault.failures else "none" if record.look_at and not record.wanted else "missing"
    if held.not_after <= now:
        return "ended"
    if held.not_after - now < min(site.config.certificates.ending_days * DAY, (held.not_after - held.not_before) / 4):
        return "ending"
    return "failing" if record.fault.failures else "good"


def service_names(site: Site, domain: str, host_names: Sequence[str]) -> list[str]:
    """Those that the host's own certificate does not have already."""
    host = site.config.host.lower()
    names = [f"{label}.{domain}" for label in site.config.certificates.names]
    return [name for name in names if name != host and not covers(name, host_names)]


def held_back(turn: Turn) -> Done:
    return Done(turn.name, "held", turn.reason.value, at=turn.at, why=turn.held)


def _issuer(held: Held | None) -> str:
    return held.issuer if held else ""
