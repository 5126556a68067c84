"""What a step of a domain's life asks for at its DNS, carried out: a plan of the state that it leads to, and its apply.

A target that a person writes is left to that person, and so is what is in the way; what a target refuses is told, and
it is for the caller to leave the domain where it was. Killed anywhere, the same step made again does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from postane.admin import dns_targets, domain_plan
from postane.admin.domain_facts import Known, known
from postane.admin.domain_plan import Applied, Planned
from postane.admin.site import Site
from postane.core.errors import ConflictError, PostaneError
from postane.domains import plan as plans
from postane.domains.kinds import Kind
from postane.domains.life import LOW_TTL, MOVING_TTL, Action, OldMx, State
from postane.domains.moves import lowered, restored

RECORDS = frozenset({Action.PUBLISH, Action.LOWER_TTL, Action.SWITCH_MX, Action.RESTORE_MX, Action.DELETE})
POLICIES: dict[Action, dict[str, object]] = {
    Action.QUARANTINE: {"dmarc": "quarantine"},
    Action.REJECT: {"dmarc": "reject"},
    Action.ENFORCE: {"mta_sts": "enforce"},
}
"""What of a domain's own settings an action changes; then its records follow."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What came of it in one zone. `state`: done, unchanged, manual (a person has to), failed, or "would change".

    `left` are the reasons of what is left to the operator; `error` why it failed.
    """

    zone: str
    target: str
    state: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    error: str = ""


def failed(deeds: Sequence[Deed]) -> str:
    """Why, "" if nothing has."""
    return next((one.error for one in deeds if one.state == "failed"), "")


def carry_out(
    site: Site,
    name: str,
    state: State,
    actions: Sequence[Action],
    old: OldMx,
    *,
    dry_run: bool = False,
    servers_port: int = 53,
) -> tuple[Deed, ...]:
    """The records of the domain as `state` wants them; `actions` say what of a foreign MX is touched.

    Raises nothing: what has failed is told.
    """
    if not any(one in RECORDS or one in POLICIES for one in actions):
        return ()
    work = _Work(site, name, frozenset(actions), old, servers_port)
    try:
        return work.lower(dry_run) if Action.LOWER_TTL in actions else work.publish(state, dry_run)
    except PostaneError as error:
        return (Deed(name, "", "failed", error=_words(error)),)


class _Work:
    def __init__(self, site: Site, name: str, actions: frozenset[Action], old: OldMx, port: int) -> None:
        self._site = site
        self._name = name
        self._actions = actions
        self._old = old
        self._port = port

    def publish(self, state: State, dry_run: bool) -> tuple[Deed, ...]:
        switch = Action.SWITCH_MX in self._actions
        planned = self._plan(state, take=(Kind.MX,) if switch else ())
        if Action.RESTORE_MX in self._actions:
            planned = [_restored(one, self._old) for one in planned]
        if switch and (stuck := self._stuck(planned)):
            return (stuck,)
        return self._done(planned, dry_run)

    def lower(self, dry_run: bool) -> tuple[Deed, ...]:
        """Of the MX alone: all else of the present state stands as it does."""
        (row,) = known(self._site, [self._name])
        name = row.target or dns_targets.default_name(self._site)
        target = dns_targets.target(self._site, name)
        if not target.writable or target.least_ttl > LOW_TTL or Kind.MX not in row.facts.kinds:
            return (Deed(self._name, name, "manual", left=(f"the TTL of its MX: {LOW_TTL} s or less",)),)
        # The records of the cutover are those whose plan asks for the MX.
        own, *_ = self._plan(State.CUTOVER)
        if own.plan is not None and own.snapshot is not None:
            ttl = max(MOVING_TTL, target.least_ttl)
            own = replace(own, plan=lowered(own.plan, own.snapshot, ttl))
        return self._done([own], dry_run)

    def _plan(self, state: State, take: Sequence[Kind] = ()) -> list[Planned]:
        rows = [_at(row, state) for row in known(self._site, [self._name])]
        return domain_plan.plan_known(self._site, rows, take=take, servers_port=self._port)

    def _stuck(self, planned: Sequence[Planned]) -> Deed | None:
        """Where a target that we write cannot take the MX, the mail is not moved."""
        own = planned[0].plan
        if own is None or not dns_targets.target(self._site, own.target).writable:
            return None
        lines = [line for line in own.lines if line.kind in (Kind.MX, None)]
        if not lines or any(line.kind is Kind.MX and line.action is not plans.Action.CONFLICT for line in lines):
            return None
        words = (f"{line.reason}{''.join(f'; {way}' for way in line.ways_out)}" for line in lines)
        return Deed(own.zone, own.target, "failed", error=next(words))

    def _done(self, planned: Sequence[Planned], dry_run: bool) -> tuple[Deed, ...]:
        if dry_run:
            return tuple(_deed(domain_plan.would(one), one) for one in planned)
        applied = domain_plan.apply(self._site, planned)
        return tuple(_deed(done, one) for done, one in zip(applied, planned, strict=True))


def _at(row: Known, state: State) -> Known:
    return replace(row, facts=replace(row.facts, state=state))


def _restored(one: Planned, old: OldMx) -> Planned:
    if one.plan is None or one.snapshot is None:
        return one
    data = old.data or tuple(f"{10 * at} {host}." for at, host in enumerate(old.hosts, 1))
    return replace(one, plan=restored(one.plan, one.snapshot, data, MOVING_TTL))


def _deed(done: Applied, one: Planned) -> Deed:
    plan = done.plan or one.plan
    error = _words(done.error) if done.error else ""
    if plan is None:
        return Deed(done.domain, "", "failed", error=error)
    touched = done.state != "unchanged"
    return Deed(
        plan.zone,
        plan.target,
        done.state,
        tuple(map(str, plan.add)) if touched else (),
        tuple(map(str, plan.remove)) if touched else (),
        tuple(line.reason for line in plan.of(plans.Action.CONFLICT)),
        error,
    )


def _words(error: PostaneError) -> str:
    conflict = isinstance(error, ConflictError) and error.hint
    return f"{error} ({error.hint})" if conflict else str(error)
