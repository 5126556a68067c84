"""What hosted domains should have in the DNS, beside what stands there; and the carrying out of it.

Rows of what is going to be ours are written before a target is changed and set right after: whoever is killed in
between leaves rows without records, which the next run puts in, and never a record that nobody knows to be ours.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from postane.admin import dns_targets
from postane.admin.domain_facts import Known, known, lies_in, save_owned
from postane.admin.names import domain_name
from postane.admin.site import Site
from postane.config.model import Dns
from postane.core.address import normal_domain
from postane.core.errors import PostaneError, TemporaryError, UsageError
from postane.core.question import Answer, Ask, Question
from postane.dns.authority import Authority
from postane.dns.records import Record, canonical, wanted
from postane.dns.resolver import Resolver
from postane.dns.targets.base import Change, ManyAtOnce, Target, WorldChangedError, apply_many, read_many
from postane.domains import spf
from postane.domains.desired import Facts, Wanted, delegated, desired, with_foreign_mx, without_policy
from postane.domains.kinds import Kind
from postane.domains.plan import Action, Owned, Plan, decode, encode, foreign_spf, make_plan, owned_after
from postane.domains.snapshot import Finding, Snapshot, Trouble
from postane.domains.world import World
from postane.filters.auth import dialogue
from postane.filters.auth.public_suffix import by_list

AT_ONCE = 50  # domains that are looked at
BATCH = 100  # domains whose rows are written together
_SINGLY = 10  # the same, where each zone takes a while
_SERVER_SECONDS = 3.0  # for one question to one server
_SPF_SECONDS = 20.0

Told = Callable[[int, int], None]
"""Progress: done, of how many."""


def _silent(_done: int, _of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of a domain, or why there is none. The rest is what it was made from; `merged` was said of its SPF."""

    domain: str
    plan: Plan | None
    error: PostaneError | None = None
    snapshot: Snapshot | None = None
    owned: tuple[Owned, ...] = ()
    facts: Facts | None = None
    merged: spf.Merged | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """`state`: done, unchanged, manual (a person has to), failed. `conflicts` are left to the operator."""

    domain: str
    state: str
    plan: Plan | None = None
    conflicts: int = 0
    error: PostaneError | None = None


def plan(
    site: Site,
    names: Sequence[str] | None,
    *,
    take: Collection[Kind] = (),
    told: Told = _silent,
    servers_port: int = 53,
) -> list[Planned]:
    """Plans for these domains; None: for all. `servers_port` is another in tests. Raises NotFoundError, ConfigError."""
    rows = known(site, None if names is None else [domain_name(name) for name in names])
    return plan_known(site, rows, take=take, told=told, servers_port=servers_port)


def plan_known(
    site: Site,
    rows: Sequence[Known],
    *,
    take: Collection[Kind] = (),
    told: Told = _silent,
    servers_port: int = 53,
) -> list[Planned]:
    """As `plan`, of what is known, or foreseen, of domains."""
    return asyncio.run(_Run(site, servers_port).plans(rows, frozenset(take), told))


def apply(site: Site, planned: Sequence[Planned], *, told: Told = _silent) -> list[Applied]:
    """Carries out plans that were just made."""
    return asyncio.run(_Run(site).carry_out(planned, told))


def apply_file(site: Site, document: bytes, *, dry_run: bool = False, told: Told = _silent) -> list[Applied]:
    """Carries out plans of a file: just what they say, and of each nothing if its world has changed since.

    Raises PermanentError for what is no such file, NotFoundError for a domain that is not hosted.
    """
    plans = decode(document)
    return asyncio.run(_Run(site).from_file(plans, dry_run, told))


def to_file(planned: Sequence[Planned]) -> bytes:
    """The file form of what has been planned."""
    return encode([one.plan for one in planned if one.plan is not None])


def kinds(words: Sequence[str]) -> frozenset[Kind]:
    """The kinds of `--take`. Raises UsageError."""
    try:
        return frozenset(map(Kind, words))
    except ValueError as error:
        raise UsageError(f"--take: {error} of record") from error


class _Run:
    """One run: its resolvers, targets, and what they have already said."""

    def __init__(self, site: Site, servers_port: int = 53) -> None:
        self.site = site
        self._targets: dict[str, Target] = {}
        settings = site.config.domains
        self._resolver = Resolver(site.config.dns)
        others = [
            (name, Resolver(Dns(nameservers=(name,), timeout=site.config.dns.timeout))) for name in settings.resolvers
        ]
        self._world = World(
            self._resolver,
            Authority(_SERVER_SECONDS, servers_port),
            by_list(site.config.state),
            others,
            seconds=settings.look_timeout,
        )
        self._looks: dict[str, asyncio.Future[Snapshot]] = {}

    async def plans(self, rows: Sequence[Known], take: frozenset[Kind], told: Told) -> list[Planned]:
        rows = [part for row in await self._with_reverse(rows) for part in _parts(row)]
        wants = [_wanted(row) for row in rows]
        asked = [_questions(want, row.owned) for want, row in zip(wants, rows, strict=True)]
        snapshots = await self._see(rows, asked, told)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(row: Known, want: list[Wanted], snapshot: Snapshot | PostaneError) -> Planned:
            if isinstance(snapshot, PostaneError):
                return Planned(row.facts.domain, None, snapshot, facts=row.facts)
            async with turns:
                return await self._plan(row, want, snapshot, take)

        made = await asyncio.gather(*map(one, rows, wants, snapshots))
        return [
            replace(planned, plan=replace(planned.plan, questions=tuple(questions))) if planned.plan else planned
            for planned, questions in zip(made, asked, strict=True)
        ]

    async def from_file(self, plans: Sequence[Plan], dry_run: bool, told: Told) -> list[Applied]:
        hosted = {row.facts.domain: row for row in known(self.site, [plan.domain for plan in plans])}
        rows = [
            _part(hosted[plan.domain], "" if lies_in(plan.domain, plan.zone) else plan.zone, plan.target)
            for plan in plans
        ]
        snapshots = await self._see(rows, [plan.questions for plan in plans], _silent)
        planned = []
        for row, plan, snapshot in zip(rows, plans, snapshots, strict=True):
            error = snapshot if isinstance(snapshot, PostaneError) else None
            if isinstance(snapshot, Snapshot) and snapshot.digest(plan.names) != plan.digest:
                error = WorldChangedError(
                    f"the records of {plan.domain} have changed since the plan was made",
                    hint=f"postane domain plan {plan.domain}",
                )
            world = snapshot if isinstance(snapshot, Snapshot) else None
            planned.append(Planned(plan.domain, None if error else plan, error, world, row.owned))
        if dry_run:
            return [would(one) for one in planned]
        return await self.carry_out(planned, told)

    async def carry_out(self, planned: Sequence[Planned], told: Told) -> list[Applied]:
        done: list[Applied] = []
        singly = any(self._singly(one.plan.target) for one in planned if one.plan is not None)
        size = _SINGLY if singly else BATCH
        for start in range(0, len(planned), size):
            done += await self._carry_out(planned[start : start + size])
            told(len(done), len(planned))
        return done

    async def _carry_out(self, batch: Sequence[Planned]) -> list[Applied]:
        changes: dict[str, list[Change]] = {}
        before: list[tuple[Plan, list[Owned]]] = []
        after: dict[int, tuple[Plan, list[Owned]]] = {}
        for at, one in enumerate(batch):
            if (plan := one.plan) is None or one.snapshot is None or not self._target(plan.target).writable:
                continue
            rows = owned_after(plan, one.owned, one.snapshot)
            if plan.changes or rows != list(one.owned):
                after[at] = (plan, rows)
            if plan.changes:
                both = [*one.owned, *(row for row in rows if row not in one.owned)]
                before.append((plan, both))
                change = Change(plan.zone, plan.remove, plan.add, plan.before)
                changes.setdefault(plan.target, []).append(change)
        self._save(before)
        errors: dict[tuple[str, str], PostaneError | None] = {}
        for name, several in changes.items():
            for zone, error in (await apply_many(self._target(name), _by_zone(several))).items():
                errors[name, zone] = error
        applied = [self._outcome(one, errors) for one in batch]
        settled = []
        for at, (plan, rows) in after.items():
            if isinstance(applied[at].error, TemporaryError):
                continue  # it may be there or not: the next run looks
            settled.append((plan, list(batch[at].owned) if applied[at].error else rows))
        self._save(settled)
        return applied

    def _outcome(self, one: Planned, errors: dict[tuple[str, str], PostaneError | None]) -> Applied:
        plan = one.plan
        if plan is None:
            return Applied(one.domain, "failed", error=one.error)
        conflicts = len(plan.of(Action.CONFLICT))
        if not plan.changes:
            return Applied(one.domain, "unchanged", plan, conflicts)
        if not self._target(plan.target).writable:
            return Applied(one.domain, "manual", plan, conflicts)
        error = errors.get((plan.target, plan.zone))
        return Applied(one.domain, "failed" if error else "done", plan, conflicts, error)

    def _save(self, rows: Sequence[tuple[Plan, list[Owned]]]) -> None:
        if not rows:
            return
        ids = {row.facts.domain: row.id for row in known(self.site, [plan.domain for plan, _ in rows])}
        with self.site.database.change() as session:
            for plan, owned in rows:
                within = plan.domain if lies_in(plan.domain, plan.zone) else plan.zone
                save_owned(session, ids[plan.domain], plan.target, owned, within, plan.add)

    async def _see(
        self, rows: Sequence[Known], asked: Sequence[Sequence[tuple[str, str]]], told: Told
    ) -> list[Snapshot | PostaneError]:
        """What stands: at a target that can be read, else at the domain's own servers."""
        turns = asyncio.Semaphore(AT_ONCE)
        count = 0

        async def look(row: Known, questions: Sequence[tuple[str, str]]) -> Snapshot:
            if self._holds_all(row):  # then the world is only asked whether it looks there
                questions = [(row.zone or row.facts.domain, "MX")]
            async with turns:
                if row.zone and self._holds_all(row):
                    found = await self._look_once(row.zone)
                else:
                    found = await self._world.look(row.zone or row.facts.domain, questions)
            if not self._singly(row.target):
                tell(1)
            return found

        def tell(more: int) -> None:
            nonlocal count
            count += more
            told(count, len(rows))

        def tell_zone(target: str, zone: str) -> None:
            tell(rows_of[target, zone])

        rows_of: Counter[tuple[str, str]] = Counter()
        looks = await asyncio.gather(*map(look, rows, asked))
        found: list[Snapshot | PostaneError] = list(looks)
        places: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            try:
                target = self._target(row.target)
            except PostaneError as error:
                found[at] = error
                continue
            if target.writable:
                places.setdefault(target.name, []).append(at)
        for name, several in places.items():
            zones = [self._zone(rows[at], looks[at]) for at in several]
            rows_of.update((name, zone) for zone in zones)
            contents = await read_many(self._target(name), list(dict.fromkeys(zones)), partial(tell_zone, name))
            for at, zone in zip(several, zones, strict=True):
                held = contents[zone]
                if isinstance(held, PostaneError):
                    found[at] = held
                elif held is not None:
                    found[at] = _at_target(looks[at], zone, self._target(name), held)
        return found

    async def _look_once(self, zone: str) -> Snapshot:
        """At a zone of the provider's, which many domains lead into."""
        if zone in self._looks:
            return replace(await self._looks[zone], asked=0)
        self._looks[zone] = asyncio.ensure_future(self._world.look(zone, [(zone, "MX")]))
        return await self._looks[zone]

    async def _plan(self, row: Known, want: list[Wanted], snapshot: Snapshot, take: frozenset[Kind]) -> Planned:
        facts, target = row.facts, self._target(row.target)
        owned = list(row.owned)
        want = [replace(one, record=replace(one.record, ttl=max(one.record.ttl, target.least_ttl))) for one in want]
        if target.whole_zones and not row.zone:
            owned = _adopted(self.site, row, snapshot, owned)
        if not _mx_is_ours(row, want, snapshot, owned, take):
            want = with_foreign_mx(want, facts)
        if not row.zone and Kind.MX not in take and _shares_mx(row, snapshot, owned):
            want = without_policy(want)
        ours = next((one.ours for one in want if one.ours is not None), None)
        merged = None
        if ours is not None:
            texts = foreign_spf(facts.domain, snapshot, owned)
            merged = await dialogue.run(spf.merge(facts.domain, texts, ours), self._as_planned(want), _SPF_SECONDS)
        made = make_plan(
            want,
            snapshot,
            owned,
            merged=merged,
            take=take,
            kinds=facts.kinds,
            target=target.name,
            text_limit=target.text_limit,
            types=target.types,
            now=time.time(),
        )
        made = replace(made, domain=facts.domain, zone=self._zone(row, snapshot))
        return Planned(facts.domain, made, None, snapshot, tuple(owned), facts, merged)

    def _as_planned(self, want: Sequence[Wanted]) -> Ask:
        """Answers as they will be: an SPF record that speaks of the MX speaks of ours, and of a host whose addresses
        this plan may be about to put in.
        """
        planned: dict[tuple[str, str], tuple[str, ...]] = {}
        for record in (one.record for one in want if one.kind in (Kind.MX, Kind.ADDRESS)):
            key = record.name, record.type
            planned[key] = (*planned.get(key, ()), record.data.split()[-1].rstrip("."))

        async def ask(question: Question) -> Answer:
            found = planned.get((question.name, question.kind))
            return Answer(found) if found else await self._resolver.ask(question)

        return ask

    def _zone(self, row: Known, snapshot: Snapshot) -> str:
        """Where the records go: the zone around the domain, but never one that is everybody's."""
        if row.zone:
            return row.zone
        if (
            self._target(row.target).whole_zones
            or not snapshot.zone
            or not by_list(self.site.config.state)(snapshot.zone)
        ):
            return row.facts.domain
        return snapshot.zone

    def _singly(self, name: str) -> bool:
        """True for a target whose zones are read and changed one by one."""
        try:
            target = self._target(name)
        except PostaneError:
            return False
        return target.writable and not isinstance(target, ManyAtOnce)

    def _holds_all(self, row: Known) -> bool:
        try:
            return self._target(row.target).whole_zones
        except PostaneError:
            return False  # told later

    def _target(self, name: str) -> Target:
        name = name or dns_targets.default_name(self.site)
        if name not in self._targets:
            self._targets[name] = dns_targets.target(self.site, name)
        return self._targets[name]

    async def _with_reverse(self, rows: Sequence[Known]) -> list[Known]:
        """The names of our addresses, asked once, told with the first domain: they are the host's, not a domain's."""
        found: list[tuple[str, tuple[str, ...] | None]] = []
        for address in self.site.config.dns.addresses:
            try:
                found.append((address, await self._resolver.names(address)))
            except TemporaryError:
                found.append((address, None))
        return [
            replace(row, facts=replace(row.facts, reverse=() if at else tuple(found))) for at, row in enumerate(rows)
        ]


def _parts(row: Known) -> list[Known]:
    """The domain's own zone, and the provider's zones that hold, or held, what its CNAMEs lead to."""
    domain = row.facts.domain
    zones = {row.facts.delegation} if row.facts.delegation else set()
    zones |= {one.record.name.rpartition(f".{domain}.")[2] for one in row.owned if not lies_in(one.record.name, domain)}
    return [_part(row, "", row.target), *(_part(row, zone, "") for zone in sorted(zones))]


def _part(row: Known, zone: str, target: str) -> Known:
    """`zone` "" is the domain's own. What stands in the provider's is put where records are put by default."""
    facts = replace(row.facts, reverse=()) if zone else row.facts
    owned = tuple(one for one in row.owned if lies_in(one.record.name, zone or facts.domain))
    return replace(row, facts=facts, zone=zone, target=target, owned=owned)


def _wanted(row: Known) -> list[Wanted]:
    if row.zone:
        return delegated(row.facts) if row.zone == row.facts.delegation else []
    return desired(row.facts)


def _by_zone(changes: Sequence[Change]) -> list[Change]:
    """One change a zone: two domains can have their records in the same one."""
    found: dict[str, Change] = {}
    for one in changes:
        if (first := found.get(one.zone)) is None:
            found[one.zone] = one
            continue
        before = None if first.before is None or one.before is None else (*first.before, *one.before)
        found[one.zone] = Change(one.zone, (*first.remove, *one.remove), (*first.add, *one.add), before)
    return list(found.values())


def _questions(want: Sequence[Wanted], owned: Sequence[Owned]) -> list[tuple[str, str]]:
    """An alias is asked for as addresses: then whatever stands in its place shows too."""
    records = [*(one.record for one in want if not one.told), *(one.record for one in owned)]
    return list(dict.fromkeys((one.name, "A" if one.type == "CNAME" else one.type) for one in records))


def _at_target(look: Snapshot, zone: str, target: Target, held: Sequence[Record]) -> Snapshot:
    """What the target has, with what the world says about the domain beside it; of types that the target does not
    know, what the world has.
    """
    unknown = [one for one in look.records if target.types is not None and one.type not in target.types]
    trouble = list(look.trouble)
    ours = {one.data.rstrip(".").lower() for one in held if one.name == zone and one.type == "NS"}
    if look.servers and ours and not ours & set(look.servers):
        text = f"the world asks {', '.join(look.servers)} about {look.domain}: what {target.name} has is not seen there"
        way = f"have the delegation changed to {', '.join(sorted(ours))} at the registrar"
        trouble.append(Trouble(Finding.ELSEWHERE, text, (way,)))
    return Snapshot(look.domain, zone, look.servers, tuple(sorted([*held, *unknown])), (), tuple(trouble), look.asked)


def _adopted(site: Site, row: Known, snapshot: Snapshot, owned: list[Owned]) -> list[Owned]:
    """With what `domain publish` put in, which keeps no rows: records that are just as it makes them."""
    host = normal_domain(site.config.host)
    made = {canonical(one): one for one in wanted(row.facts.domain, host, row.facts.keys, site.config.dns)}
    rows = {canonical(one.record) for one in owned}
    by_type = {"MX": Kind.MX, "A": Kind.ADDRESS, "AAAA": Kind.ADDRESS}
    for record in snapshot.records:
        key = canonical(record)
        if key in made and key not in rows and record.type not in ("SOA", "NS"):
            if record.type == "TXT":
                kind = Kind.DKIM if "._domainkey." in record.name else Kind.DMARC
                kind = Kind.SPF if record.name == row.facts.domain else kind
            else:
                kind = by_type[record.type]
            owned = [*owned, Owned(record, kind)]
    return owned


def _mx_is_ours(
    row: Known, want: Sequence[Wanted], snapshot: Snapshot, owned: Sequence[Owned], take: Collection[Kind]
) -> bool:
    """True if the MX names our host once the plan is carried out."""
    standing = snapshot.at(row.facts.domain, "MX")
    if any(one.data.split()[-1].rstrip(".").lower() == row.facts.host for one in standing):
        return True
    mine = {canonical(one.record) for one in owned}
    foreign = any(canonical(one) not in mine for one in standing)
    return any(one.kind is Kind.MX for one in want) and (not foreign or Kind.MX in take)


def _shares_mx(row: Known, snapshot: Snapshot, owned: Sequence[Owned]) -> bool:
    """True if somebody else's host is, and stays, among those of the MX."""
    mine = {canonical(one.record) for one in owned}
    others = [one for one in snapshot.at(row.facts.domain, "MX") if canonical(one) not in mine]
    return any(one.data.split()[-1].rstrip(".").lower() != row.facts.host for one in others)


def would(one: Planned) -> Applied:
    """What carrying it out would do."""
    if one.plan is None:
        return Applied(one.domain, "failed", error=one.error)
    return Applied(
        one.domain, "would change" if one.plan.changes else "unchanged", one.plan, len(one.plan.of(Action.CONFLICT))
    )
