"""Looks at a domain as the world sees it: its servers found from the parent downwards and asked themselves, and what
resolvers still remember.

Few questions and bounded in time: one to the parent, one for each name and type that is wanted, one for a wildcard, one
for the keys where the parent vouches for any, one to each resolver. Questions go round among the domain's servers, so
that a lame one shows without being asked apart.
Nothing is raised: what is wrong with a domain, or cannot be known now, is part of the Snapshot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from postane.core.errors import TemporaryError
from postane.core.question import Question
from postane.dns import chain
from postane.dns.authority import Authority, Said
from postane.dns.records import Record, canonical
from postane.dns.resolver import NoSuchNameError, Resolver
from postane.domains.snapshot import Finding, Snapshot, Trouble, Unanswered
from postane.filters.auth.dmarc_walk import Suffixes

MAX_QUESTIONS = 40  # to servers, about one domain; 19 are usual
SECONDS = 15.0
_MAX_STEPS = 5  # referrals on the way from the parent to the domain
_MAX_SERVERS = 4  # of a domain, that are asked
_NO_ADDRESS = "has no address"
_SILENT = "does not answer"

Names = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone and its servers' addresses, each with the name that the parent gives it."""

    name: str
    addresses: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Look:
    """One look: what has been found so far."""

    domain: str
    asked: int = 0
    records: dict[tuple[str, str, str], Record] = field(default_factory=dict)
    unanswered: list[Unanswered] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    lame: dict[str, str] = field(default_factory=dict)
    vouched: tuple[Record, ...] = ()
    no_wildcard: bool = False

    def add(self, finding: Finding, text: str, *ways_out: str, subject: str = "", why: str = "") -> None:
        self.trouble.append(Trouble(finding, text, ways_out, subject, why, why == _SILENT))


class World:
    """Shared by many looks: what is known of parents (the servers of a top-level domain) is asked once.

    `resolver` finds the servers; `others` are resolvers whose answers are compared, by name. `suffixes` says which
    names are nobody's (filters.auth.public_suffix).
    """

    def __init__(
        self,
        resolver: Resolver,
        authority: Authority,
        suffixes: Suffixes,
        others: Sequence[tuple[str, Resolver]] = (),
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._resolver = resolver
        self._authority = authority
        self._suffixes = suffixes
        self._others = others
        self._seconds = seconds
        self._parents: dict[str, asyncio.Task[_Zone]] = {}

    async def look(self, domain: str, names: Names) -> Snapshot:
        """`names` are pairs (name, type); an alias at a name is found by whatever type is asked for."""
        wanted = list(dict.fromkeys(names))
        look = _Look(domain)
        if not self._suffixes(domain):
            look.add(Finding.SUFFIX, f"{domain} is a public suffix: it belongs to everybody who registers below it")
            return Snapshot(domain, trouble=tuple(look.trouble))
        zone: _Zone | None = None
        try:
            async with asyncio.timeout(self._seconds):
                zone = await self._find_zone(look)
                if zone is not None:
                    await self._ask_all(look, zone, wanted)
                    await self._check_chain(look, zone)
                    await self._compare(look, wanted)
        except TimeoutError:
            look.add(Finding.UNASKED, f"the servers of {domain} did not answer within {self._seconds:g} s")
        self._miss(look, wanted, zone)
        return Snapshot(
            domain,
            zone.name if zone else "",
            tuple(dict.fromkeys(name for name, _ in zone.addresses)) if zone else (),
            tuple(sorted(look.records.values())),
            tuple(sorted(look.unanswered, key=lambda one: (one.name, one.type))),
            tuple(look.trouble),
            look.asked,
        )

    async def _find_zone(self, look: _Look) -> _Zone | None:
        """The closest zone around the domain; None with the reason in `look`."""
        try:
            zone = await self._parent(look.domain.partition(".")[2])
            for _ in range(_MAX_STEPS):
                said = await self._ask_any(look, zone, look.domain, "NS", signed=True)
                if said.code == "NXDOMAIN" and self._suffixes(zone.name):
                    return zone  # a name in somebody's zone that has no records yet
                if said.code == "NXDOMAIN":
                    look.add(
                        Finding.UNREGISTERED,
                        f"{look.domain} does not exist: the servers of {zone.name or 'the root'} know no such name",
                        "register it, or have its owner renew it",
                    )
                    return None
                own = [one.data.rstrip(".").lower() for one in said.records if one.type == "NS"]
                if said.refers:
                    look.vouched = said.vouched if said.zone == look.domain else ()
                    inner = await self._with_addresses(look, said.zone, said.servers)
                    if said.zone == look.domain:
                        return inner
                    zone = inner
                elif own:  # one server for the parent and for the domain
                    vouched = await self._ask_any(look, zone, look.domain, "DS")
                    look.vouched = tuple(one for one in vouched.records if one.type == "DS")
                    return await self._with_addresses(look, look.domain, [(name, ()) for name in own])
                else:
                    return zone  # a name in the parent's zone, no zone of its own
        except TemporaryError as error:
            look.add(Finding.UNASKED, f"the servers of {look.domain} cannot be found now: {error}", "try again")
            return None
        look.add(Finding.UNASKED, f"the servers of {look.domain} cannot be found: more than {_MAX_STEPS} referrals")
        return None

    async def _parent(self, name: str) -> _Zone:
        """The zone that `name` lies in, by a resolver. Raises TemporaryError."""
        task = self._parents.get(name)
        if task is None or task.get_loop() is not asyncio.get_running_loop() or (task.done() and task.exception()):
            task = self._parents[name] = asyncio.ensure_future(self._ask_parent(name))
        return await asyncio.shield(task)

    async def _ask_parent(self, name: str) -> _Zone:
        while True:
            try:
                servers = await self._resolver.name_servers(name)
            except NoSuchNameError:
                servers = ()
            if servers:
                return await self._with_addresses(_Look(name), name, [(server, ()) for server in servers])
            if not name:
                raise TemporaryError("DNS: the root has no servers")
            name = name.partition(".")[2]

    async def _with_addresses(self, look: _Look, name: str, servers: Iterable[tuple[str, tuple[str, ...]]]) -> _Zone:
        """One address a server: those in the zone itself come along, others are asked for. Raises TemporaryError."""
        found: list[tuple[str, str]] = []
        failed = ""
        for server, glue in sorted(servers)[:_MAX_SERVERS]:
            addresses = glue
            try:
                addresses = addresses or await self._resolver.addresses(server)
            except TemporaryError as error:
                failed = str(error)
            if addresses:
                found.append((server, min(addresses, key=lambda address: ":" in address)))
            else:
                look.lame.setdefault(server, _NO_ADDRESS)
        if not found:
            raise TemporaryError(failed or f"DNS: no server of {name or 'the root'} has an address")
        return _Zone(name, tuple(found))

    async def _ask_any(
        self, look: _Look, zone: _Zone, name: str, kind: str, first: int = 0, *, signed: bool = False
    ) -> Said:
        """The answer of the first server that serves the zone, from `first` on. Raises TemporaryError."""
        why = "nobody was asked"
        count = len(zone.addresses)
        for at in range(count):
            server, address = zone.addresses[(first + at) % count]
            if server in look.lame and at < count - 1:
                continue
            if look.asked >= MAX_QUESTIONS:
                raise TemporaryError(f"DNS: {MAX_QUESTIONS} questions about {look.domain} are enough")
            look.asked += 1
            try:
                said = await self._authority.ask(address, name, kind, signed=signed)
            except TemporaryError as error:
                why = str(error)
                look.lame.setdefault(server, _SILENT)
                continue
            below = said.refers and (said.zone == name or name.endswith(f".{said.zone}"))
            if said.usable or (below and len(said.zone) > len(zone.name)):
                return said
            why = f"DNS: {server} does not serve {zone.name or 'the root'} ({said.code})"
            look.lame.setdefault(server, f"does not serve the zone ({said.code})")
        raise TemporaryError(why)

    async def _ask_all(self, look: _Look, zone: _Zone, wanted: Sequence[tuple[str, str]]) -> None:
        async def one(at: int, name: str, kind: str) -> None:
            try:
                said = await self._ask_any(look, zone, name, kind, at)
            except TemporaryError as error:
                look.unanswered.append(Unanswered(name, kind, str(error)))
                return
            if name == wildcard and said.code == "NXDOMAIN":
                look.no_wildcard = True
            for record in said.records:
                if record.name == name:  # not what an alias leads to
                    look.records[canonical(record)] = record

        wildcard = f"*.{look.domain}"
        questions = [*wanted, *([(wildcard, "MX")] if (look.domain, "MX") in wanted else [])]
        async with asyncio.TaskGroup() as group:
            for at, (name, kind) in enumerate(questions):
                group.create_task(one(at, name, kind))
        async with asyncio.TaskGroup() as group:
            # Where the name of the wildcard does not exist, there is none of any type (RFC 4592 section 2.1.1).
            for at, kind in enumerate([] if look.no_wildcard else _like_wildcards(look)):
                group.create_task(one(at, wildcard, kind))
        _forget_wildcards(look, wildcard)
        look.unanswered = [missing for missing in look.unanswered if missing.name != wildcard]
        own = dict(zone.addresses)
        for server, why in sorted(look.lame.items()):
            if server not in own and why != _NO_ADDRESS:
                continue  # one of the parent's
            look.add(
                Finding.LAME,
                f"{server}, which is named as a server of {zone.name}, {why}",
                "have it repaired, or taken out at the registrar",
                subject=server,
                why=why,
            )
        self._judge(look, wildcard)

    def _judge(self, look: _Look, wildcard: str) -> None:
        for key, record in list(look.records.items()):
            if record.name == wildcard:
                del look.records[key]
                look.add(
                    Finding.WILDCARD_MX,
                    f"{wildcard} {record.type} {record.data}: names that nobody made take mail too",
                    f"take {wildcard} away at your DNS provider if that is not meant",
                )
            elif record.name == look.domain and record.type == "CNAME":
                look.add(
                    Finding.APEX_ALIAS,
                    f"{look.domain} is an alias of {record.data}: it can have no MX and no TXT of its own",
                    "put addresses in its place, or what your DNS provider calls ALIAS or ANAME",
                )

    async def _check_chain(self, look: _Look, zone: _Zone) -> None:
        """One question to a server that serves the zone, where the parent vouches for keys."""
        address = next((address for server, address in zone.addresses if server not in look.lame), "")
        if not look.vouched or zone.name != look.domain or not address:
            return
        look.asked += 1
        try:
            answer = await self._authority.message(address, zone.name, "DNSKEY", signed=True)
        except TemporaryError:
            return  # whether it is silent has been told by the other questions
        if why := chain.fault(zone.name, look.vouched, answer, time.time()):
            look.add(
                Finding.DNSSEC,
                f"validating resolvers refuse {zone.name}: {why}",
                "have the DS record at the registrar changed to that of the keys in use, or taken out",
                why=why,
            )

    async def _compare(self, look: _Look, wanted: Sequence[tuple[str, str]]) -> None:
        """What resolvers still see of the MX, as far as the servers answered about it."""
        missing = {(one.name, one.type) for one in look.unanswered}
        if (look.domain, "MX") not in wanted or (look.domain, "MX") in missing:
            return
        now = {one.data.split()[-1].rstrip(".").lower() for one in look.records.values() if _is_mx(one, look.domain)}
        for name, resolver in self._others:
            look.asked += 1
            answer = await resolver.ask(Question(look.domain, "MX", fresh=True))
            if answer.failed:
                look.add(Finding.RESOLVERS, f"{name} cannot say who takes the mail: {answer.failed}")
            elif set(answer.records) != now:
                seen = ", ".join(one or "nobody" for one in answer.records) or "no MX"
                look.add(Finding.RESOLVERS, f"{name} still sees {seen}", "wait until the TTL has passed")

    def _miss(self, look: _Look, wanted: Sequence[tuple[str, str]], zone: _Zone | None) -> None:
        """What was never asked is unanswered; but where there is no domain, there are no records for certain."""
        if any(one.finding is Finding.UNREGISTERED for one in look.trouble):
            return
        if zone is None:
            why = next((one.text for one in look.trouble), "it was not asked")
            look.unanswered += [Unanswered(name, kind, why) for name, kind in wanted]
        elif any(one.finding is Finding.UNASKED for one in look.trouble):
            known = {(one.name, one.type) for one in look.records.values()}
            known |= {(missing.name, missing.type) for missing in look.unanswered}
            look.unanswered += [
                Unanswered(name, kind, "no answer in time") for name, kind in wanted if (name, kind) not in known
            ]


def _like_wildcards(look: _Look) -> list[str]:
    """Types of which several names have the same record: it may be one wildcard, of which nothing stands there."""
    names: dict[tuple[str, str], set[str]] = {}
    for record in look.records.values():
        if record.name != look.domain and record.type in ("A", "CNAME", "TXT", "SRV"):
            names.setdefault((record.type, record.data), set()).add(record.name)
    return sorted({kind for (kind, _), several in names.items() if len(several) > 1 or kind == "A"})


def _forget_wildcards(look: _Look, wildcard: str) -> None:
    """Takes out what is there by a wildcard only, but for its MX: a record of the name's own would take its place."""
    made = {(one.type, one.data) for one in look.records.values() if one.name == wildcard and one.type != "MX"}
    for key, one in list(look.records.items()):
        if one.name != look.domain and (one.type, one.data) in made:
            del look.records[key]


def _is_mx(record: Record, domain: str) -> bool:
    return record.name == domain and record.type == "MX"
