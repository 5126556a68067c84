"""What of a hosted domain was right once and is no more, as one look sees it. Pure.

A look is a plan with the snapshot that it was made from: nothing is compared here that the plan has not compared. What
never was as it should be is the plan's to tell, not drift. What becomes of a finding is that of drift_cases.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from postane.dns.records import Record, canonical, text_of
from postane.domains import spf
from postane.domains.desired import Facts
from postane.domains.kinds import Kind
from postane.domains.life import State
from postane.domains.plan import Action, Line, Owned, Plan
from postane.domains.snapshot import Finding, Snapshot

DAY = 86400.0

# Where a domain is watched: before its proof it is nobody's, and one that leaves changes by its owner's will.
WATCHED = frozenset({State.VERIFIED, State.SHADOW, State.CUTOVER, State.HARDENED, State.SUSPENDED})


class Drift(StrEnum):
    """Kinds of finding."""

    MISSING = "missing"  # stood as it should, and is gone
    CHANGED = "changed"  # stood as it should, and is another now
    MX_GONE = "mx-gone"
    MX_FOREIGN = "mx-foreign"  # mail goes elsewhere, or elsewhere too
    SPF_TWO = "spf-two"
    SPF_OVER = "spf-over"
    CNAME_REMOVED = "cname-removed"  # what was delegated to us
    LAME = "lame"  # a server that the parent names does not serve the domain
    SILENT = "silent"  # one of them does not answer
    UNREACHABLE = "unreachable"  # none of them does
    TARGET_AWAY = "target-away"  # where its records are put cannot be asked
    ELSEWHERE = "elsewhere"  # the world asks other servers than those that we write to
    EXPIRED = "expired"  # its parent knows it no more
    DNSSEC_BROKEN = "dnssec-broken"
    CERTIFICATE_ENDING = "certificate-ending"
    REVERSE_WRONG = "reverse-wrong"


# Of the domain as a whole: one that was never served the right way is being set up, and its life tells of that.
_OF_DOMAIN = frozenset({Drift.UNREACHABLE, Drift.ELSEWHERE, Drift.EXPIRED})
_SERVED = "served"  # how it is remembered that it was
_OF_RECORDS = frozenset(
    {
        Drift.MISSING,
        Drift.CHANGED,
        Drift.MX_GONE,
        Drift.MX_FOREIGN,
        Drift.SPF_TWO,
        Drift.SPF_OVER,
        Drift.CNAME_REMOVED,
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """Something that one look has seen. `subject` is what it is about ("a.test MX", a server), `data` what stands now.

    `ours`: Postane made it and can put it back.
    """

    kind: Drift
    subject: str = ""
    data: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """`stood`: what is as it should be, as `memory` wants it. `unseen`: subjects of records that nobody told about;
    `blind`: nobody told about any of them, `deaf`: nor about the domain's servers.
    """

    found: tuple[Found, ...]
    stood: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()
    blind: bool = False
    deaf: bool = False

    def saw(self, kind: Drift, subject: str) -> bool:
        """True if the look can tell whether this is so still."""
        if kind in _OF_RECORDS:
            return not self.blind and subject not in self.unseen
        return not self.deaf or kind in (Drift.UNREACHABLE, Drift.TARGET_AWAY, Drift.CERTIFICATE_ENDING)


# -- one look ----------------------------------------------------------------------------------------------------------


def see(
    facts: Facts,
    plan: Plan,
    snapshot: Snapshot,
    owned: Collection[Owned],
    stood: Collection[str],
    *,
    merged: spf.Merged | None = None,
    writable: bool = True,
) -> Look:
    """What a plan, and the snapshot that it was made from, tell of drift. `stood` is what earlier looks saw right.

    `writable`: what is ours can be put back, as its target is no person.
    """
    seen = {trouble.finding for trouble in snapshot.trouble}
    own_zone = plan.zone == facts.domain or facts.domain.endswith(f".{plan.zone}")
    found = list(_of_servers(snapshot)) if own_zone else []
    served = own_zone and snapshot.servers and not any(one.kind in _OF_DOMAIN for one in found)
    if _SERVED not in stood and facts.state != State.HARDENED:
        found = [one for one in found if one.kind not in _OF_DOMAIN]
    if Finding.UNREGISTERED in seen and own_zone:
        return Look(tuple(found), blind=True)
    unseen = {f"{one.name} {one.type}" for one in snapshot.unanswered}
    # What stands at the place of an alias is asked for as addresses.
    unseen |= {f"{one.name} CNAME" for one in snapshot.unanswered if one.type == "A"}
    judge = _Judge(facts, plan, snapshot, owned, stood, merged)
    found += [replace(one, ours=one.ours and writable) for one in judge.found() if one.subject not in unseen]
    first = {(one.kind, one.subject): one for one in reversed(found)}
    deaf = Finding.UNASKED in seen and not snapshot.records
    return Look(
        tuple(one for one in found if first.get((one.kind, one.subject)) is one),
        frozenset(memory(line) for line in plan.of(Action.KEEP) if line.kind and line.record)
        | ({_SERVED} if served else set()),
        frozenset(unseen),
        blind=deaf,
        deaf=Finding.UNASKED in seen,
    )


def together(looks: Sequence[Look]) -> Look:
    """One look of those at the parts of a domain: its own zone, and the provider's that it leads into."""
    return Look(
        tuple(one for look in looks for one in look.found),
        frozenset().union(*(look.stood for look in looks)),
        frozenset().union(*(look.unseen for look in looks)),
        any(look.blind for look in looks),
        any(look.deaf for look in looks),
    )


def away(error: str) -> Look:
    """Of a domain that no plan can be made for now."""
    return Look((Found(Drift.TARGET_AWAY, data=error),), blind=True, deaf=True)


def memory(line: Line) -> str:
    """How a record that stands as it should is remembered."""
    assert line.record is not None
    return f"{line.kind} {line.record.name} {line.record.type}"


def remembered(stood: Collection[str], look: Look, plans: Iterable[Plan]) -> frozenset[str]:
    """What is known to have stood once; what is not wanted any more is forgotten."""
    if look.blind:
        return frozenset(stood) | look.stood
    wanted = {_SERVED} | {memory(line) for plan in plans for line in plan.lines if line.kind and line.record}
    kept = {one for one in stood if one in wanted or one.partition(" ")[2] in look.unseen}
    return frozenset(kept) | look.stood


def ending(ends_at: float, days: float, now: float, subject: str) -> list[Found]:
    """Of a certificate, by the moment of its end."""
    if ends_at - now >= days * DAY:
        return []
    return [Found(Drift.CERTIFICATE_ENDING, subject, f"{max(0, math.floor((ends_at - now) / DAY))}")]


def reverse(facts: Facts) -> Look:
    """Of the host: the reverse names of its addresses."""
    found, unseen = [], False
    for address, names in facts.reverse:
        if names is None:
            unseen = True
        elif facts.host not in names:
            found.append(Found(Drift.REVERSE_WRONG, address, ", ".join(names)))
    return Look(tuple(found), deaf=unseen)


def _of_servers(snapshot: Snapshot) -> Iterable[Found]:
    lame = {one.subject for one in snapshot.trouble if one.finding is Finding.LAME}
    if snapshot.servers and lame >= set(snapshot.servers):
        yield Found(
            Drift.UNREACHABLE, data="; ".join(f"{one.subject} {one.why}" for one in snapshot.trouble if one.why)
        )
    for trouble in snapshot.trouble:
        match trouble.finding:
            case Finding.UNREGISTERED:
                yield Found(Drift.EXPIRED)
            case Finding.UNASKED:
                yield Found(Drift.UNREACHABLE, data=trouble.text)
            case Finding.LAME:
                yield Found(Drift.SILENT if trouble.silent else Drift.LAME, trouble.subject, trouble.why)
            case Finding.ELSEWHERE:
                yield Found(Drift.ELSEWHERE, data=", ".join(snapshot.servers))
            case Finding.DNSSEC:
                yield Found(Drift.DNSSEC_BROKEN, data=trouble.why)


class _Judge:
    """The lines of one plan."""

    def __init__(
        self,
        facts: Facts,
        plan: Plan,
        snapshot: Snapshot,
        owned: Collection[Owned],
        stood: Collection[str],
        merged: spf.Merged | None,
    ) -> None:
        self.facts = facts
        self.plan = plan
        self.snapshot = snapshot
        self.stood = frozenset(stood)
        self.merged = merged
        self.standing = {canonical(one): one for one in snapshot.records}
        self.owned: dict[str, list[Owned]] = {}
        for own in owned:
            self.owned.setdefault(f"{own.kind} {own.record.name} {own.record.type}", []).append(own)

    def found(self) -> Iterable[Found]:
        for line in self.plan.lines:
            if line.kind is None or line.record is None:
                continue
            if line.kind is Kind.SPF:
                yield from self._spf(line)
            elif line.action is Action.ADD:
                yield from self._gone(line, line.record)
            elif line.action is Action.CHANGE:
                yield from self._other_ttl(line)
            elif line.action is Action.CONFLICT:
                yield from self._taken(line, line.record)

    def _was(self, line: Line) -> bool:
        return memory(line) in self.stood or memory(line) in self.owned

    def _gone(self, line: Line, record: Record) -> Iterable[Found]:
        lost = any(canonical(own.record) not in self.standing for own in self.owned.get(memory(line), ()))
        # Where another of the name stands it is a new value that waits to be put in, and nothing is gone.
        if lost or (memory(line) in self.stood and not self.snapshot.at(record.name, record.type)):
            yield Found(self._kind_of_loss(line, record), subject_of(record), ours=lost)

    def _other_ttl(self, line: Line) -> Iterable[Found]:
        """Of our records only the TTL can be another and they still be ours; else a new value waits to be put in."""
        for own in self.owned.get(memory(line), ()):
            now = self.standing.get(canonical(own.record))
            if now is not None and now.ttl != own.record.ttl:
                yield Found(Drift.CHANGED, subject_of(now), f"TTL {now.ttl}", ours=True)

    def _taken(self, line: Line, record: Record) -> Iterable[Found]:
        if not line.replaces:
            return
        if line.kind is Kind.MX and (self._was(line) or self.facts.state == State.HARDENED):
            hosts = [one.data for one in self.snapshot.at(record.name, "MX")]
            kind = Drift.MX_FOREIGN if hosts else Drift.MX_GONE
            yield Found(kind, subject_of(record), "; ".join(hosts) or _shown(line.replaces))
        elif self._was(line):
            loss = self._kind_of_loss(line, record)
            yield Found(Drift.CHANGED if loss is Drift.MISSING else loss, subject_of(record), _shown(line.replaces))

    def _kind_of_loss(self, line: Line, record: Record) -> Drift:
        if line.kind is Kind.MX:
            return Drift.MX_GONE
        zone = self.facts.delegation
        leads_to_us = record.type == "CNAME" and zone and record.data.rstrip(".").lower().endswith(f".{zone}")
        return Drift.CNAME_REMOVED if leads_to_us else Drift.MISSING

    def _spf(self, line: Line) -> Iterable[Found]:
        record = line.record
        assert record is not None
        standing = [one for one in self.snapshot.at(record.name, "TXT") if spf.is_record(text_of(one.data))]
        subject, texts = subject_of(record), "; ".join(text_of(one.data) for one in standing)
        if len(standing) > 1:
            yield Found(Drift.SPF_TWO, subject, texts)
            return
        if line.action is Action.CONFLICT:
            count = self.merged.count if self.merged else None
            if count is not None and not count.passes:
                yield Found(Drift.SPF_OVER, subject, str(count))
            elif standing and (count is None or not count.failed):
                yield Found(Drift.CHANGED, subject, texts)
            return
        if line.action not in (Action.ADD, Action.CHANGE) or not self._was(line):
            return
        lost = [own for own in self.owned.get(memory(line), ()) if not self._says(own, standing)]
        if not standing:
            yield Found(Drift.MISSING, subject, ours=bool(lost))
        elif lost or memory(line) not in self.owned:
            yield Found(Drift.CHANGED, subject, texts, ours=bool(lost))

    def _says(self, own: Owned, standing: Sequence[Record]) -> bool:
        """True if what we put in is there still: the record, or our words of it."""
        if not own.words:
            return canonical(own.record) in self.standing
        return any(set(own.words) <= set(text_of(one.data).split()) for one in standing)


def subject_of(record: Record) -> str:
    """What a finding about a record is about: its name and type."""
    return f"{record.name} {record.type}"


def _shown(records: Iterable[Record]) -> str:
    return "; ".join(f"{one.type} {text_of(one.data) if one.type == 'TXT' else one.data}" for one in records)
