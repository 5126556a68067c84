"""What a move does to an MX that is another's: its TTL lowered before it, and itself brought back after it. Pure.

These records are not ours before and after: a plan of these lines leaves none that is noted as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from postane.dns.records import Record
from postane.domains.kinds import Kind
from postane.domains.life import LOW_TTL
from postane.domains.plan import Action, Line, Plan, with_lines
from postane.domains.snapshot import Snapshot


def lowered(plan: Plan, world: Snapshot, ttl: int) -> Plan:
    """Nothing but the MX records that stand there, with a TTL that a switch can wait for."""
    standing = world.at(plan.domain, "MX")
    if all(one.ttl <= LOW_TTL for one in standing):
        return with_lines(plan, (), world)
    reason = "its TTL is lowered, so that the move is soon seen everywhere"
    lines = [
        Line(
            Action.CHANGE,
            Kind.MX,
            reason,
            replace(one, ttl=ttl),
            (one,),
            (f"TTL {one.ttl} → {ttl}",),
            foreign=True,
        )
        for one in standing
    ]
    return with_lines(plan, lines, world)


def restored(plan: Plan, world: Snapshot, old: Sequence[str], ttl: int) -> Plan:
    """With the MX of before (`old` data, the preferred first) wherever the plan takes ours out.

    Without any ours stays: a domain without an MX would lose mail. `ttl` is the longest that they get: a step back is
    seen as soon as the step was.
    """
    ours = [line for line in plan.of(Action.REMOVE) if line.kind is Kind.MX]
    if not ours:
        return plan
    others = [line for line in plan.lines if line not in ours]
    if not old:
        return with_lines(plan, others, world)
    gone = tuple(record for line in ours for record in line.replaces)
    ttl = min([ttl, *(record.ttl for record in gone)])
    first, *rest = (Record(plan.domain, "MX", data, ttl) for data in old)
    reason = "the MX of before the move comes back"
    lines = [Line(Action.CHANGE, Kind.MX, reason, first, gone, foreign=True)]
    lines += [Line(Action.ADD, Kind.MX, reason, one, foreign=True) for one in rest]
    return with_lines(plan, [*lines, *others], world)
