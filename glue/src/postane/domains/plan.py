"""What has to change for a domain's records to be as they should, line by line. Pure.

Only what Postane made is changed or removed. Foreign records stay, but for two things: SPF, whose one record takes our
words in and keeps every foreign one, and kinds that the operator takes by name (`take`), such as the MX at the cutover.
What is in the way otherwise is a conflict: it is shown with the ways out, and nothing is done about it.
A plan holds for the world that it was made for (`digest`); it can be written to a file and carried out later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from postane.core.errors import PermanentError
from postane.dns.records import Record, canonical, text_data, text_of
from postane.domains import spf
from postane.domains.desired import Wanted
from postane.domains.kinds import ALL, Kind, competes
from postane.domains.snapshot import Finding, Snapshot

FORMAT = 1  # of the file


class Action(StrEnum):
    KEEP = "keep"
    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    CONFLICT = "conflict"
    TOLD = "told"


@dataclass(frozen=True, slots=True)
class Owned:
    """A record that Postane made. `words`: of a merged record only these words of it; empty: all of it."""

    record: Record
    kind: Kind
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """`record` is what will stand (with "remove": nothing), `replaces` what goes, or what is in the way.

    `foreign` says that `record` is somebody else's. `words` as Owned has them.
    """

    action: Action
    kind: Kind | None
    reason: str
    record: Record | None = None
    replaces: tuple[Record, ...] = ()
    notes: tuple[str, ...] = ()
    ways_out: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`zone` is where the records go, `names` those whose records `digest` covers, `before` what stood at the names
    and types that are written to, whole sets; `made_at` seconds since the epoch. `questions` (name, type) are those
    that the world was asked.
    """

    domain: str
    zone: str
    target: str
    lines: tuple[Line, ...]
    names: tuple[str, ...]
    digest: str
    before: tuple[Record, ...] = ()
    made_at: float = 0.0
    questions: tuple[tuple[str, str], ...] = ()

    @property
    def remove(self) -> tuple[Record, ...]:
        gone = (one for line in self.lines if line.action in (Action.CHANGE, Action.REMOVE) for one in line.replaces)
        return tuple(dict.fromkeys(gone))

    @property
    def add(self) -> tuple[Record, ...]:
        come = (line.record for line in self.lines if line.record and line.action in (Action.ADD, Action.CHANGE))
        stays = set(self.before) - set(self.remove)
        return tuple(one for one in dict.fromkeys(come) if one not in stays)

    @property
    def changes(self) -> bool:
        """True if there is anything to do."""
        return bool(self.remove or self.add)

    def of(self, *actions: Action) -> list[Line]:
        return [line for line in self.lines if line.action in actions]

    def only(self, lines: Collection[Line]) -> Plan:
        """The plan with these of its lines alone."""
        part = replace(self, lines=tuple(line for line in self.lines if line in lines))
        sets = {(one.name, one.type) for one in (*part.remove, *part.add)}
        return replace(part, before=tuple(one for one in self.before if (one.name, one.type) in sets))

    def __str__(self) -> str:
        counts = [(len(self.of(action)), action) for action in Action if self.of(action)]
        return ", ".join(f"{count} {action}" for count, action in counts) or "nothing is wanted"


def make_plan(
    wanted: Sequence[Wanted],
    world: Snapshot,
    owned: Collection[Owned],
    *,
    merged: spf.Merged | None = None,
    take: Collection[Kind] = (),
    kinds: Collection[Kind] = ALL,
    target: str = "manual",
    text_limit: int = 0,
    types: Collection[str] | None = None,
    now: float = 0.0,
) -> Plan:
    """`merged` is what spf.merge said of `foreign_spf(...)`; without it the record is not counted.

    `take` are the kinds whose foreign records may be replaced; `kinds` those that Postane keeps: of others it lets go.
    `text_limit` is the longest text that the target takes, 0 for any; `types` those that it can hold, None for all.
    """
    work = _Work(wanted, world, owned, merged, frozenset(take), text_limit, types)
    lines = [line for one in work.wanted for line in work.line(one)]
    lines += work.leftovers(frozenset(kinds))
    for why, unknown in work.unknown.items():
        others = f" and {len(unknown) - 1} more names" if len(unknown) > 1 else ""
        reason = f"what stands at {unknown[0]}{others} is not known: {why}"
        lines.append(Line(Action.CONFLICT, None, reason, ways_out=("plan again when the DNS answers",)))
    for trouble in world.trouble:
        action = Action.CONFLICT if trouble.finding is Finding.SUFFIX else Action.TOLD
        lines.append(Line(action, None, trouble.text, ways_out=trouble.ways_out))
    if any(trouble.finding is Finding.SUFFIX for trouble in world.trouble):
        lines = [line for line in lines if line.action in (Action.CONFLICT, Action.TOLD)]
    names = sorted({one.record.name for one in wanted} | {one.record.name for one in owned})
    plan = Plan(world.domain, world.zone or world.domain, target, (), tuple(names), world.digest(names))
    return replace(with_lines(plan, lines, world), made_at=now)


def with_lines(plan: Plan, lines: Iterable[Line], world: Snapshot) -> Plan:
    """The plan with these instead of its own; `world` is what it was made for."""
    plan = replace(plan, lines=tuple(lines))
    sets = {(one.name, one.type) for one in (*plan.remove, *plan.add)}
    return replace(plan, before=tuple(sorted(one for one in world.records if (one.name, one.type) in sets)))


def foreign_spf(domain: str, world: Snapshot, owned: Iterable[Owned]) -> list[str]:
    """The texts at the domain that are not wholly ours: what an SPF record is merged into."""
    ours = {canonical(one.record) for one in owned if not one.words}
    return [text_of(one.data) for one in world.at(domain, "TXT") if canonical(one) not in ours]


def owned_after(plan: Plan, owned: Iterable[Owned], world: Snapshot) -> list[Owned]:
    """What is ours once the plan is carried out; `world` is as it was before.

    What went by another's hand is ours no more, nor is what we let go.
    """
    standing = set(map(canonical, world.records))
    unanswered = {(one.name, one.type) for one in world.unanswered}
    gone = set(map(canonical, plan.remove))
    let_go = {canonical(line.record) for line in plan.of(Action.KEEP) if line.record and line.foreign}
    found: dict[tuple[str, str, str], Owned] = {}
    for own in owned:
        key = canonical(own.record)
        there = key in standing or (own.record.name, own.record.type) in unanswered
        if there and key not in gone and key not in let_go:
            found[key] = own
    for line in plan.of(Action.ADD, Action.CHANGE, Action.KEEP):
        written = line.action is not Action.KEEP or line.words
        if written and line.record and line.kind and not line.foreign:
            found[canonical(line.record)] = Owned(line.record, line.kind, line.words)
    return list(found.values())


def encode(plans: Sequence[Plan]) -> bytes:
    """The file form: JSON."""
    return msgspec.json.format(msgspec.json.encode({"format": FORMAT, "plans": plans}), indent=2) + b"\n"


def decode(document: bytes) -> list[Plan]:
    """Raises PermanentError for what is no file of plans of this version."""
    try:
        found = msgspec.json.decode(document, type=_Format).format
        if found == FORMAT:
            return msgspec.json.decode(document, type=_File).plans
    except msgspec.DecodeError as error:  # with it msgspec.ValidationError
        hint = "`postane domain plan DOMAIN --out FILE` makes one"
        raise PermanentError(f"this is no file of plans: {error}", hint=hint) from error
    raise PermanentError(f"plans of format {found}, and this version reads {FORMAT}", hint="plan again")


class _Format(msgspec.Struct):
    format: int


class _File(_Format):
    plans: list[Plan]


class _Work:
    """One planning."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        world: Snapshot,
        owned: Collection[Owned],
        merged: spf.Merged | None,
        take: frozenset[Kind],
        text_limit: int,
        types: Collection[str] | None,
    ) -> None:
        self.world = world
        self.owned = {canonical(one.record): one for one in owned}
        self.merged = merged
        self.take = take
        self.text_limit = text_limit
        self.types = types
        self.wanted = [one for one in wanted if not one.beside or self._foreign_beside(one)]
        self.keys = {canonical(one.record) for one in self.wanted}
        self.unanswered = {(one.name, one.type): one.why for one in world.unanswered}
        # What stands at the place of an alias is asked for as addresses.
        self.unanswered |= {(one.name, "CNAME"): one.why for one in world.unanswered if one.type == "A"}
        self.replaced: set[tuple[str, str, str]] = set()
        self.unknown: dict[str, list[str]] = {}

    def line(self, wanted: Wanted) -> list[Line]:
        record = wanted.record
        if wanted.told:
            return [Line(Action.TOLD, wanted.kind, wanted.reason, record)]
        if why := self.unanswered.get((record.name, record.type)):
            self.unknown.setdefault(why, []).append(record.name)
            return []
        rivals = tuple(
            one
            for one in self.world.at(record.name)
            if competes(wanted.kind, record, one) and canonical(one) not in self.keys
        )
        if wanted.ours is not None:
            return [self._spf(wanted, wanted.ours, rivals)]
        standing = next((one for one in self.world.at(record.name) if canonical(one) == canonical(record)), None)
        if standing is not None and not rivals:
            return [self._kept(wanted, standing)]
        if wanted.kind is Kind.CAA and (limited := self._limited(record)):
            return [Line(Action.KEEP, wanted.kind, wanted.reason, limited, foreign=True)]
        if self.types is not None and record.type not in self.types:
            return [self._not_held(wanted)]
        if self.text_limit and record.type == "TXT" and len(text_of(record.data)) > self.text_limit:
            return [self._too_long(wanted)]
        return [self._put(wanted, rivals)]

    def leftovers(self, kinds: frozenset[Kind]) -> list[Line]:
        """What we made and nobody wants any more."""
        lines = []
        for key, own in self.owned.items():
            if key in self.keys or key in self.replaced:
                continue
            standing = next((one for one in self.world.at(own.record.name) if canonical(one) == key), None)
            if own.kind not in kinds:
                if standing:
                    reason = f"{own.kind} is not kept by Postane any more: it is yours"
                    lines.append(Line(Action.KEEP, own.kind, reason, standing, foreign=True))
                continue
            if any(one.kind is own.kind and one.ours is not None for one in self.wanted):
                continue  # the one SPF record: said already
            if own.words:
                lines += self._words_out(own)
            elif standing:
                lines.append(Line(Action.REMOVE, own.kind, "no longer needed", None, (standing,)))
        return lines

    def _kept(self, wanted: Wanted, standing: Record) -> Line:
        ours = canonical(standing) in self.owned
        others = [one for one in self.world.at(standing.name, standing.type) if canonical(one) not in self.owned]
        if ours and not others and standing.ttl != wanted.record.ttl:
            return self._change(wanted, wanted.record, (standing,), (f"TTL {standing.ttl} → {wanted.record.ttl}",))
        return Line(Action.KEEP, wanted.kind, wanted.reason, standing, foreign=not ours)

    def _put(self, wanted: Wanted, rivals: tuple[Record, ...]) -> Line:
        record = self._with_ttl(wanted.record, rivals)
        foreign = tuple(one for one in rivals if canonical(one) not in self.owned)
        if not rivals:
            lost = canonical(record) in self.owned
            notes = ("it was there, and somebody took it away",) if lost else ()
            return Line(Action.ADD, wanted.kind, wanted.reason, record, notes=notes)
        if foreign and wanted.yields and wanted.kind not in self.take:
            note = "made by somebody else: it stays as it is"
            return Line(Action.KEEP, wanted.kind, wanted.reason, foreign[0], notes=(note,), foreign=True)
        if not foreign:
            return self._change(wanted, record, rivals)
        if wanted.kind in self.take and not self._alias_at_apex(foreign):
            return self._change(wanted, record, rivals, ("made by somebody else: replaced by your word",))
        return Line(
            Action.CONFLICT,
            wanted.kind,
            f"{wanted.reason}; but {_names(foreign)} stands there, and Postane did not make it",
            record,
            rivals,
            ways_out=self._ways_out(wanted, foreign),
        )

    def _change(self, wanted: Wanted, record: Record, rivals: tuple[Record, ...], notes: tuple[str, ...] = ()) -> Line:
        self.replaced |= {canonical(one) for one in rivals}
        return Line(Action.CHANGE, wanted.kind, wanted.reason, record, rivals, notes)

    def _spf(self, wanted: Wanted, ours: spf.Ours, rivals: tuple[Record, ...]) -> Line:
        """The standing records are `rivals`, and the wanted one where it stands just so."""
        name, kind = wanted.record.name, wanted.kind
        # It stands alone whatever came first: an alias at the apex leaves no room for it.
        if any(one.type == "CNAME" for one in rivals):
            return self._put(wanted, rivals)
        standing = [one for one in self.world.at(name, "TXT") if spf.is_record(text_of(one.data))]
        foreign = [one for one in standing if not self._wholly_ours(one)]
        put = self.merged or spf.put_in(name, [text_of(one.data) for one in foreign], ours)
        notes = (*((str(put.count),) if put.count else ()), *put.notes)
        if put.standing == "conflict":
            text = Record(name, "TXT", text_data(put.text), wanted.record.ttl) if put.text else wanted.record
            return Line(Action.CONFLICT, kind, put.problem, text, tuple(standing), notes, put.ways_out)
        record = self._with_ttl(Record(name, "TXT", text_data(put.text), wanted.record.ttl), tuple(foreign))
        words = put.words if foreign else ()
        if len(standing) == 1 and canonical(standing[0]) == canonical(record):
            if canonical(standing[0]) in self.owned:
                return Line(Action.KEEP, kind, wanted.reason, standing[0], notes=notes)
            # Somebody has written on in a record that we had made or put our words into: the words are ours still.
            before = any(own.kind is kind and own.record.name == name for own in self.owned.values())
            words = put.words if before else ()
            return Line(Action.KEEP, kind, wanted.reason, standing[0], notes=notes, words=words, foreign=not before)
        if self.text_limit and len(put.text) > self.text_limit:
            return self._too_long(replace(wanted, record=record))
        self.replaced |= {canonical(one) for one in standing}
        action = Action.CHANGE if standing else Action.ADD
        return Line(action, kind, wanted.reason, record, tuple(standing), notes, words=words)

    def _words_out(self, own: Owned) -> list[Line]:
        """Our words leave a record that is somebody else's, as it stands now."""
        records = [one for one in self.world.at(own.record.name, "TXT") if spf.is_record(text_of(one.data))]
        for standing in records if len(records) == 1 else ():
            text = text_of(standing.data)
            rest = spf.without(self.world.domain, text, own.words)
            if rest != text:
                record = replace(standing, data=text_data(rest))
                reason = f"{' '.join(own.words)} is no longer needed"
                return [Line(Action.CHANGE, own.kind, reason, record, (standing,), foreign=True)]
        return []

    def _wholly_ours(self, record: Record) -> bool:
        own = self.owned.get(canonical(record))
        return own is not None and not own.words

    def _with_ttl(self, record: Record, going: tuple[Record, ...]) -> Record:
        """All records of one name and type have one TTL (RFC 2181 section 5.2): the others', where there are any."""
        left = [
            one
            for one in self.world.at(record.name, record.type)
            if one not in going and canonical(one) not in self.owned
        ]
        return replace(record, ttl=left[0].ttl) if left else record

    def _foreign_beside(self, wanted: Wanted) -> bool:
        name, kind = wanted.record.name, wanted.record.type
        return any(canonical(one) not in self.owned for one in self.world.at(name, kind))

    def _limited(self, record: Record) -> Record | None:
        """A CAA record that allows the same issuer with parameters of its own (RFC 8659 section 4.2)."""
        issuer = text_of(record.data.split(None, 2)[2])
        for one in self.world.at(record.name, "CAA"):
            _, tag, value = canonical(one)[2].split(" ", 2)
            if tag == "issue" and value.split(";")[0].strip() == issuer:
                return one
        return None

    def _alias_at_apex(self, records: Iterable[Record]) -> bool:
        return any(one.type == "CNAME" and one.name == self.world.domain for one in records)

    def _ways_out(self, wanted: Wanted, foreign: tuple[Record, ...]) -> tuple[str, ...]:
        if self._alias_at_apex(foreign):
            return (
                "an alias leaves no room for mail at the domain itself (RFC 1034 section 3.6.2): "
                "put the addresses that it leads to in its place, or what your DNS provider calls ALIAS or ANAME",
            )
        take = f"say --take {wanted.kind} to have it replaced"
        if wanted.kind is Kind.MX:
            take += f": mail then comes here, no longer to {_names(foreign)}"
        return (
            take,
            "take it away at your DNS provider, then plan again",
            f"do not have {wanted.kind} kept by Postane",
        )

    def _too_long(self, wanted: Wanted) -> Line:
        length = len(text_of(wanted.record.data))
        ways = ["have the domain's names delegated by CNAME: then the record lies in our zone"]
        if wanted.kind is Kind.DKIM:
            ways.append("go without this key: an Ed25519 key fits, but not every receiver reads it (RFC 8463)")
        ways.append("have the zone served by somebody who takes long texts")
        reason = f"{length} characters, and {self.text_limit} is the most that this target takes"
        return Line(Action.CONFLICT, wanted.kind, reason, wanted.record, ways_out=tuple(ways))

    def _not_held(self, wanted: Wanted) -> Line:
        kind, record = wanted.kind, wanted.record
        ways = (
            f"put it in by hand at the DNS provider, if its pages take {record.type}: it is seen then",
            f"do not have {kind} kept by Postane: {wanted.reason}, and nothing else hangs on it",
            "have the zone served by somebody who takes it",
        )
        reason = f"{wanted.reason}; but this target cannot hold {record.type} records"
        return Line(Action.CONFLICT, kind, reason, record, ways_out=ways)


def _names(records: Iterable[Record]) -> str:
    return ", ".join(f"{one.type} {one.data}" for one in records)
