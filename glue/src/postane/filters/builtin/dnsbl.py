"""Asks lists in the DNS about the client's address, its HELO name and the sender's domain (RFC 5782).

Each list that knows one of them adds its weight to a score; lists of the wanted take theirs away, and may vouch for the
sender. From `reject_at` on the mail is refused, in the words of the list that weighs most; what stays below is the
peer's score, which other filters go by.

What can fail is a list: it is late, silent, dead, does not talk to our resolver, or lists everybody. Then it counts for
nothing, and is set aside until its tests pass again; no mail waits for it and none is refused by it (see blocklists).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Annotated, Literal

from msgspec import Meta, Struct

from postane.core.address import MAX_DOMAIN
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.identity import authors
from postane.filters.blocklists import names
from postane.filters.blocklists.ask import Found, Inquiry, inquire, line, score, strongest
from postane.filters.blocklists.codes import Codes
from postane.filters.blocklists.news import News
from postane.filters.blocklists.watch import Channel, Named, Watch
from postane.filters.content.head import head
from postane.observe.log import get_logger

log = get_logger("filters")

Of = Literal["address", "sender_domain", "helo", "author_domain"]

_SESSIONS = 10_000  # whose scores are remembered from phase to phase
_TEXT_SECONDS = 0.5  # at least, for the list's own words
_HEAD = 256 * 1024  # octets of the header in which From is looked for
_LONGEST_ZONE = MAX_DOMAIN - 2 * 32 - 1  # beside the nibbles of an IPv6 address


class List(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list in the DNS."""

    zone: Annotated[str, Meta(min_length=1, max_length=_LONGEST_ZONE, description="The zone that is asked.")]
    name: Annotated[
        str, Meta(description="What it is called in replies and logs, for a zone with a key of yours; empty: the zone.")
    ] = ""
    of: Annotated[
        Of | tuple[Of, ...],
        Meta(description="What it is asked about: address, sender_domain, helo, author_domain (From), or several."),
    ] = "address"
    weight: Annotated[
        float, Meta(ge=0, description="What being listed adds to the score, where no code says else.")
    ] = 5.0
    codes: Annotated[
        dict[str, float],
        Meta(
            description="Weights of single answers, as 127.0.0.4-7, 127.0.*.3, 127.0.0.&8; if any are given, all"
            " that the list uses must be, those that count nothing with 0."
        ),
    ] = {}
    allow: Annotated[bool, Meta(description="It lists those who are wanted: weights are taken from the score.")] = False
    trust: Annotated[
        bool, Meta(description="With allow: who is listed with a weight is spared all that filters hold of spam.")
    ] = False
    ipv6: Annotated[bool, Meta(description="It lists IPv6 addresses too.")] = False
    inside: Annotated[
        bool, Meta(description="It lists reserved and private addresses too, as a list of your own may.")
    ] = False
    listed: Annotated[
        str | tuple[str, ...],
        Meta(description="What it must list, to be tested by; else 127.0.0.2, ::ffff:7f00:2, test (RFC 5782)."),
    ] = ()
    unlisted: Annotated[
        str | tuple[str, ...],
        Meta(description="What it must not list; else 127.0.0.1, ::ffff:7f00:1, invalid (RFC 5782)."),
    ] = ()

    @property
    def subjects(self) -> tuple[Of, ...]:
        return (self.of,) if isinstance(self.of, str) else self.of

    def named(self, kind: names.Kind) -> Named:
        """Raises ValueError for a test entry that is of no kind that the list is asked about."""
        points = names.points(kind, self._entry(self.listed, kind), self._entry(self.unlisted, kind))
        zone = self.zone.strip(".").lower()
        return Named(self.name or zone, zone, kind, points, tuple(sorted(self.codes)))

    def _entry(self, given: str | tuple[str, ...], kind: names.Kind) -> str:
        """The test entry for a kind, "" for that of the standard."""
        every = list(kinds(self))
        found = ""
        for text in (given,) if isinstance(given, str) else given:
            # A list for domains alone may have any name for its test, one that looks like an address too.
            fits = "domain" if every == ["domain"] else names.kind(text)
            if fits not in every:
                raise ValueError(f"{self.zone}: the test entry {text!r} is of no kind that the list is asked about")
            found = text if fits == kind else found
        return found


class Options(base.Options, frozen=True):
    """Lists in the DNS: of spammers' addresses, of domains in spam, of those who are wanted."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 10.0
    lists: Annotated[tuple[List, ...], Meta(description="The lists that are asked, all at once.")] = ()
    reject_at: Annotated[
        float, Meta(ge=0, description="The score from which on mail is refused; 0: never, the score only goes on.")
    ] = 5.0
    seconds: Annotated[
        float,
        Meta(gt=0, le=30, description="For all lists together, in each phase; a list that is late counts nothing."),
    ] = 3.0
    questions: Annotated[int, Meta(ge=1, description="At most so many for one mail; the last lists are left out.")] = 40
    text: Annotated[bool, Meta(description="Tell the peer what the list says about it (TXT).")] = True
    at_once: Annotated[
        bool, Meta(description="Refuse at connect and MAIL; else at RCPT, where the recipient's own policy counts.")
    ] = False
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks that are not asked about: your own forwarders and backup MX.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        for network in self.trusted_peers:
            ip_network(network)
        if self.timeout < self.seconds + 1:
            raise ValueError("`timeout` must be a second more than `seconds`")
        for one in self.lists:
            if not names.domain(one.zone):
                raise ValueError(f"lists: {one.zone!r} is no domain")
            if one.trust and not one.allow:
                raise ValueError(f"lists: {one.zone}: `trust` goes with `allow`")
            Codes(one.codes, one.weight)
            for kind in kinds(one):
                one.named(kind)


def kinds(one: List) -> Iterator[names.Kind]:
    """The kinds of questions that a list is asked."""
    if "address" in one.subjects:
        yield "ipv4"
        if one.ipv6:
            yield "ipv6"
    if one.subjects != ("address",):
        yield "domain"


@dataclass(slots=True)
class _Asked:
    """A list for one kind of question."""

    list: List
    named: Named
    codes: Codes
    channel: Channel | None = None


@dataclass(slots=True)
class _Phase:
    """What lists said in one phase, and which were asked about what."""

    score: float = 0.0
    asked: frozenset[tuple[str, str]] = frozenset()
    refused: bool = False


@dataclass(slots=True)
class _Session:
    """The phases of a session that later ones go on from: connect, and the last MAIL."""

    connect: _Phase = field(default_factory=_Phase)
    mail: _Phase = field(default_factory=_Phase)


class Dnsbl(base.Filter[Options]):
    name = "dnsbl"
    options_type = Options
    host = frozenset({"questions", "seconds", "timeout"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = [ip_network(network) for network in options.trusted_peers]
        news = News(tools.store, tools.host)
        self._watch = tools.shared(self.name, lambda: Watch(tools.resolver(), tools.metrics, news))
        self._watch.join()
        self._of_kind: dict[names.Kind, list[_Asked]] = {"ipv4": [], "ipv6": [], "domain": []}
        for one in options.lists:
            for kind in kinds(one):
                self._of_kind[kind].append(_Asked(one, one.named(kind), Codes(one.codes, one.weight)))
        self._asks_author = any("author_domain" in one.subjects for one in options.lists)
        self._sessions: OrderedDict[tuple[str, int], _Session] = OrderedDict()

    async def connect(self, peer: Peer) -> Verdict:
        address = names.client(peer.ip)
        if self._is_trusted(address):
            return ACCEPT
        session = self._sessions[peer.ip, peer.port] = _Session()
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
        verdict, session.connect = await self._judge(peer, self._of_address(address, str(address)), [])
        return verdict

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        if self._is_trusted(names.client(peer.ip)):
            return ACCEPT
        session = self._session(peer)
        session.mail = _Phase()
        said: dict[Of, str] = {"sender_domain": sender.rpartition("@")[2], "helo": peer.helo}
        verdict, session.mail = await self._judge(peer, self._of_domains(said), [session.connect])
        return verdict

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if not self._asks_author or self._is_trusted(names.client(peer.ip)):
            return ACCEPT
        session = self._session(peer)
        clear, _ = authors(head(body.chunks(), _HEAD))
        inquiries = self._of_domains({"author_domain": clear.key_domain if clear else ""})
        verdict, _ = await self._judge(peer, inquiries, [session.connect, session.mail])
        return verdict

    async def close(self) -> None:
        await self._watch.leave()

    def _is_trusted(self, address: names.Ip) -> bool:
        return any(address in network for network in self._trusted)

    def _session(self, peer: Peer) -> _Session:
        return self._sessions.get((peer.ip, peer.port)) or _Session()

    def _of_address(self, address: names.Ip, subject: str) -> list[Inquiry]:
        inside = names.is_inside(address)
        name = names.reverse(address)
        asked = self._of_kind[names.kind_of(address)]
        return [self._inquiry(one, subject, name) for one in asked if one.list.inside or not inside]

    def _of_domains(self, said: Mapping[Of, str]) -> list[Inquiry]:
        """Each list is asked about a domain once a mail, whichever part of it has that."""
        domains = {of: names.domain(text) for of, text in said.items()}
        return [
            self._inquiry(one, name, name)
            for one in self._of_kind["domain"]
            for name in dict.fromkeys(domains.get(of, "") for of in one.list.subjects)
            if name and len(name) + len(one.named.zone) < MAX_DOMAIN
        ]

    def _inquiry(self, asked: _Asked, subject: str, name: str) -> Inquiry:
        if asked.channel is None:  # in the loop, where its tests can begin
            asked.channel = self._watch.channel(asked.named)
        return Inquiry(asked.channel, asked.codes, subject, name, asked.list.allow, asked.list.trust)

    async def _judge(self, peer: Peer, inquiries: list[Inquiry], before: list[_Phase]) -> tuple[Verdict, _Phase]:
        """Asks as much as the phases before left of the budget. What they refused stands: there is nothing to add."""
        known = frozenset[tuple[str, str]]().union(*(phase.asked for phase in before))
        new = {(one.channel.named.zone, one.subject): one for one in inquiries}
        inquiries = [one for key, one in new.items() if key not in known]
        inquiries = inquiries[: max(self.options.questions - len(known), 0)]
        if not inquiries or any(phase.refused for phase in before):
            return ACCEPT, _Phase()
        asked = frozenset((one.channel.named.zone, one.subject) for one in inquiries)
        end = asyncio.get_running_loop().time() + self.options.seconds
        already = sum(phase.score for phase in before)
        enough = self.options.reject_at - already if self.options.reject_at else 0.0
        found = await inquire(inquiries, end, self._watch.tasks, enough)
        added, worst = score(found), strongest(found)
        total = added + already
        trust = any(one.listed and one.inquiry.trust and one.weight < 0 for one in found)
        why = _why(found, total, self.options.reject_at)
        if worst is None or trust or not 0 < self.options.reject_at <= total:
            return Verdict(why=why, score=added, opinion=True, trust=trust), _Phase(added, asked)
        reply = _reply(worst, await self._text(worst, max(end, asyncio.get_running_loop().time() + _TEXT_SECONDS)))
        if self.options.at_once:
            log.info("refused", client_ip=peer.ip, reply=str(reply), reason=why)
        verdict = Verdict(Decision.REJECT, why, reply, score=added, opinion=True, at_once=self.options.at_once)
        return verdict, _Phase(added, asked, refused=True)

    async def _text(self, found: Found, end: float) -> str:
        if not self.options.text:
            return ""
        return line(await found.inquiry.channel.text(found.inquiry.name, end))


def _reply(found: Found, text: str) -> Reply:
    """Whom it concerns, the list, and the list's own words."""
    inquiry = found.inquiry
    is_domain = inquiry.channel.named.kind == "domain"
    says = f"{'The domain ' if is_domain else ''}{inquiry.subject} is listed by {inquiry.channel.named.name}"
    return Reply(550 if is_domain else 554, "5.7.1", f"{line(says)}{f': {text}' if text else ''}")


def _why(found: Sequence[Found], total: float, reject_at: float) -> str:
    listed = "; ".join(one.words for one in found if one.listed) or f"on none of {len(found)} lists"
    silent = "".join(f"; {one.inquiry.channel.named.name} {one.said.reason}" for one in found if one.said.reason)
    return f"dnsbl: score {total:g}{f' of {reject_at:g}' if reject_at else ''}: {listed}{silent}"
