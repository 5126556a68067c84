"""Allow and block lists, and who may write to an address at all.

Whoever is blocked is refused at RCPT, by what the peer says of itself: its address and its envelope sender; and after
the text, by From. Whoever is allowed is trusted: what other filters hold of spam does not count. Trust needs proof,
because a sender's address is only a claim: the address of the peer is one, a login is one, SPF proves the envelope
sender, DKIM and DMARC prove From.

Entries come in levels, the nearest first (account, domain, tenant, server). The first level with an entry that fits
decides; within a level block beats allow.

What can fail: the DNS gives no answer where proof is needed. Then nobody is trusted, and where it would decide between
refusing and accepting the message waits (451).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.errors import AddressError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.question import Ask
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.checked import authenticated, spf
from postane.filters.auth.identity import Proof, authors, by_spf, proofs
from postane.filters.case import REACHABLE
from postane.filters.content.head import head
from postane.filters.senders.circle import Circle, Who
from postane.filters.senders.entries import entries
from postane.filters.senders.wanted import Found, Prove, Sort, Tiers, decide

BLOCKED = Reply(550, "5.7.1", "The recipient does not want mail from this sender")
NOT_YOU = Reply(550, "5.7.1", "Only some may write to this address, and you are none of them")
UNPROVEN = Reply(550, "5.7.1", "Only some may write to this address, and who you are is not proven (SPF, DKIM)")
LATER = Reply(451, "4.7.1", "Who you are cannot be checked now; try again later")

_SHARE = 0.8  # of the time that a call has, for questions to the DNS
_HEAD = 256 * 1024  # octets of the header in which From is looked for


class Level(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one account, domain or tenant wants, or the server."""

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Equal entries of many policies are kept once."""
        try:
            msgspec.structs.force_setattr(self, "allow", entries(self.allow).texts)
            msgspec.structs.force_setattr(self, "block", entries(self.block).texts)
        except AddressError as error:
            raise ValueError(str(error)) from error


class Options(base.Options, frozen=True):
    """Allow and block lists of accounts, domains, tenants and the server, and who may write to an address."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 20.0
    allow: Annotated[
        tuple[str, ...],
        Meta(description="Whose mail is trusted: addresses, domains, `.domain` with all below it, hosts, networks."),
    ] = ()
    block: Annotated[tuple[str, ...], Meta(description="Whose mail is refused, written in the same way.")] = ()
    levels: Annotated[
        tuple[Level, ...],
        Meta(description="`allow` and `block` of each level, the nearest first; policies are put together so."),
    ] = ()
    senders: Annotated[
        Who | tuple[str, ...],
        Meta(description="Who may write to the recipient at all; a list has entries, `domain` and `members`."),
    ] = msgspec.field(default="anyone", name="from")
    addresses: Annotated[
        dict[str, Who | tuple[str, ...]],
        Meta(description="The same for single addresses of the recipient's domain, aliases among them."),
    ] = msgspec.field(default_factory=dict)
    domains: Annotated[
        tuple[str, ...], Meta(description="Whose people are `members`, beside those of the recipient's domain.")
    ] = ()
    allow_needs: Annotated[
        Literal["authenticated", "none"],
        Meta(description="What an entry with a name needs to be believed: proof by SPF, DKIM or DMARC, or nothing."),
    ] = "authenticated"

    def __post_init__(self) -> None:
        try:
            _ = self.tiers
            _ = self.circles
        except AddressError as error:
            raise ValueError(str(error)) from error

    @property
    def tiers(self) -> Tiers:
        """What each level says; `allow` and `block` are the nearest."""
        every = [(self.allow, self.block), *((level.allow, level.block) for level in self.levels)]
        return [(entries(allow), entries(block)) for allow, block in every if allow or block]

    @property
    def circles(self) -> dict[str, Circle]:
        """Who may write, by the recipient's normal form; "" for all whom `addresses` does not name."""
        members = entries(self.domains)
        single = {Address.parse(address).key: Circle(who, members) for address, who in self.addresses.items()}
        return {"": Circle(self.senders, members), **single}


class Lists(base.Filter[Options]):
    name = "lists"
    members = True
    by_recipient = True
    options_type = Options
    host = frozenset({"levels", "timeout"})
    owner = frozenset({"allow", "block", "from", "addresses"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._tiers = options.tiers
        self._circles = options.circles
        self._idle = not self._tiers and len(self._circles) == 1 and self._circles[""].open

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        if self._idle or recipient.key_local in REACHABLE:
            return ACCEPT
        names = _names(sender, peer.login)
        circle = self._circle(recipient)
        if not _may_write(circle, peer, names, recipient):
            return _refused(NOT_YOU, f"only {circle} may write to {recipient}, not {sender or 'the null sender'}")
        prove = self._known(peer, names)
        by_spf = self._proof_would_allow(peer, names, prove)
        if by_spf:
            prove = await self._by_spf(peer, sender)
        found = decide(self._tiers, peer.ip, names, prove)
        if found.sort is Sort.BLOCKED:
            return _refused(BLOCKED, f"blocked by the entry {found.entry}")
        return _trusted(found, provisional=by_spf) if found.sort is Sort.ALLOWED else ACCEPT

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        recipients = [Address.parse(one.original or one.address) for one in envelope.recipients]
        if self._idle or all(one.key_local in REACHABLE for one in recipients):
            return ACCEPT
        names = _names(envelope.sender, peer.login)
        clear, claims = authors(head(body.chunks(), _HEAD))
        every = [*names, *claims]
        asked = self._asked(peer, names, recipients)
        prove = known = self._known(peer, names)
        if self._proof_would_allow(peer, every, prove) or self._unproven(asked, every, prove) is not None:
            prove = await self._by_authentication(peer, envelope, body, clear)
        found = decide(self._tiers, peer.ip, every, prove)
        if found.sort is Sort.BLOCKED:
            return _refused(BLOCKED, f"blocked by the entry {found.entry}")
        refusal = LATER if found.sort is Sort.UNKNOWN else self._unproven(asked, every, prove)
        if refusal is not None:
            return _refused(refusal, f"it is not proven who sends, {envelope.sender or 'the null sender'} or another")
        if found.sort is Sort.ALLOWED:
            return _trusted(found)
        return _NOT_TRUSTED if self._proof_would_allow(peer, names, known) else ACCEPT

    # -- who may write --------------------------------------------------------------------------------------------

    def _circle(self, recipient: Address) -> Circle:
        bare = recipient.without_tag(self.tools.tag_separator)
        return self._circles.get(recipient.key) or self._circles.get(bare.key) or self._circles[""]

    def _asked(self, peer: Peer, names: Sequence[Address], recipients: Sequence[Address]) -> list[Address]:
        """The recipients to whom the sender may write only as one who is named: the others have other policies."""
        narrow = [one for one in recipients if not self._circle(one).holds_all_of(peer.ip)]
        return [one for one in narrow if any(self._circle(one).holds(name, one) for name in names)]

    def _unproven(self, asked: Sequence[Address], names: Sequence[Address], prove: Prove) -> Reply | None:
        """The refusal for one who said at RCPT to be somebody who may write, and has not proven it."""
        answer = None
        for recipient in asked:
            proofs = {prove(name) for name in names if self._circle(recipient).holds(name, recipient)}
            if Proof.YES not in proofs:
                answer = LATER if Proof.UNKNOWN in proofs else UNPROVEN
        return answer

    # -- proof ----------------------------------------------------------------------------------------------------

    def _proof_would_allow(self, peer: Peer, names: Sequence[Address], prove: Prove) -> bool:
        """True where only proof is missing."""
        best = decide(self._tiers, peer.ip, names, lambda _: Proof.YES)
        return best.sort is Sort.ALLOWED and decide(self._tiers, peer.ip, names, prove).sort is not Sort.ALLOWED

    def _known(self, peer: Peer, names: Sequence[Address]) -> Prove:
        """What is known without a question: a login is proof, and its envelope sender belongs to it."""
        if self.options.allow_needs == "none":
            return lambda _: Proof.YES
        own = {name.key for name in names} if peer.login else set()
        return lambda name: Proof.YES if name.key in own else Proof.NO

    async def _by_spf(self, peer: Peer, sender: str) -> Prove:
        """Before the text only SPF can prove anything; what is not proven yet may be by a signature."""
        checked = await spf(self.tools, self._resolver, peer, sender, self._seconds)
        proof = Proof.YES if by_spf(checked.result.value) is Proof.YES else Proof.UNKNOWN
        return lambda _: proof

    async def _by_authentication(self, peer: Peer, envelope: Envelope, body: Body, clear: Address | None) -> Prove:
        known = self._known(peer, _names(envelope.sender, peer.login))
        found = await authenticated(self.tools, self._resolver, peer, envelope, body, self._seconds)
        proven = proofs(found, envelope.sender, clear)
        return lambda name: Proof.YES if known(name) is Proof.YES else proven.get(name.key, Proof.NO)

    @cached_property
    def _resolver(self) -> Ask:
        return self.tools.resolver()

    @property
    def _seconds(self) -> float:
        return self.options.timeout * _SHARE


def _may_write(circle: Circle, peer: Peer, names: Sequence[Address], recipient: Address) -> bool:
    """By what the peer says of itself. With the null sender only the host's own programs may: nobody answers for it."""
    if circle.holds_all_of(peer.ip):
        return True
    return any(circle.holds(name, recipient) for name in names) if names else peer.own


def _names(sender: str, login: str) -> list[Address]:
    """The addresses that a peer uses before the text; none for the null sender of a peer without a login."""
    return [Address.parse(text) for text in dict.fromkeys((sender, login)) if text]


_NOT_TRUSTED = Verdict(provisional=True)
"""What SPF proved at RCPT is not enough for what the text shows."""


def _trusted(found: Found, *, provisional: bool = False) -> Verdict:
    return Verdict(why=f"lists: allowed by the entry {found.entry}", trust=True, provisional=provisional)


def _refused(reply: Reply, why: str) -> Verdict:
    decision = Decision.DEFER if reply.temporary else Decision.REJECT
    return Verdict(decision, f"lists: {why}", reply)
