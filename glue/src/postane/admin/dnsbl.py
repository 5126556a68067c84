"""What the lists in the DNS say about an address or a domain, and whether they are well: `postane check dnsbl`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from postane.config.load import WrongValueError, load
from postane.core.errors import UsageError
from postane.core.question import Ask, Question
from postane.filters.blocklists import names
from postane.filters.blocklists.ask import line
from postane.filters.blocklists.codes import Codes
from postane.filters.blocklists.watch import Channel
from postane.filters.builtin.dnsbl import List, Options
from postane.observe.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ListView:
    """One list. `answers` are its codes for the name, `weight` what they add to the score, `text` its words.

    `problem` says why the list is set aside, or why its answer counts for nothing; "" if it is well.
    """

    name: str
    listed: bool
    answers: tuple[str, ...]
    weight: float
    well: bool
    problem: str
    text: str


@dataclass(frozen=True, slots=True)
class DnsblView:
    """The answer of `check dnsbl`. `score` is the sum of the lists that are well; `refused`: it reaches `reject_at`."""

    subject: str
    score: float
    reject_at: float
    refused: bool
    lists: tuple[ListView, ...]


def options(config: Path, zones: Sequence[str] = ()) -> Options:
    """The filter's options in the configuration, or those for `zones`. Raises WrongValueError, UsageError."""
    given = load(config).filters.options.get("dnsbl", {}) if config.exists() else {}
    if zones:
        given = {**given, "lists": [{"zone": zone, "of": ["address", "sender_domain"], "ipv6": True} for zone in zones]}
    try:
        found = msgspec.convert(given, Options)
    except msgspec.ValidationError as error:
        if zones:
            raise UsageError(f"--zone: {error}") from error
        raise WrongValueError("filters.options.dnsbl", str(error)) from error
    if not found.lists:
        raise UsageError("there are no lists", hint="name them in filters.options.dnsbl.lists, or by --zone")
    return found


async def look(subject: str, given: Options, ask: Ask) -> DnsblView:
    """`subject` is an address or a domain; lists that are not for its kind are left out. Raises UsageError."""
    kind, name, told = _asked(subject)
    lists = [one for one in given.lists if _serves(one, kind)]
    views = await asyncio.gather(*(_one(one, kind, name, ask) for one in lists))
    score = sum(view.weight for view in views if view.well)
    return DnsblView(told, score, given.reject_at, 0 < given.reject_at <= score, tuple(views))


def _asked(subject: str) -> tuple[names.Kind, str, str]:
    try:
        address = names.client(subject.strip("[]"))
    except ValueError:
        domain = names.domain(subject.rpartition("@")[2])
        if not domain:
            raise UsageError(f"{subject!r} is neither an address nor a domain") from None
        return "domain", domain, domain
    return names.kind_of(address), names.reverse(address), str(address)


def _serves(one: List, kind: names.Kind) -> bool:
    if kind == "domain":
        return one.subjects != ("address",)
    return "address" in one.subjects and (kind == "ipv4" or one.ipv6)


async def _one(one: List, kind: names.Kind, name: str, ask: Ask) -> ListView:
    channel = Channel(one.named(kind), ask, Metrics())
    zone = channel.named.zone
    trial, answer, text = await asyncio.gather(
        channel.test(), ask(Question(f"{name}.{zone}", "A")), ask(Question(f"{name}.{zone}", "TXT"))
    )
    reading = Codes(one.codes, one.weight).read(answer.records)
    problem = trial.problem or reading.fault or answer.failed
    if not problem and reading.unknown and not reading.codes:
        problem = f"answers {', '.join(reading.unknown)}, which is none of the codes given for it"
    weight = -abs(reading.weight) if one.allow else reading.weight
    return ListView(
        channel.named.name,
        bool(answer.records),
        tuple(sorted(answer.records)),
        0.0 if problem else weight,
        not problem,
        problem,
        line(text.records[0]) if text.records else "",
    )
