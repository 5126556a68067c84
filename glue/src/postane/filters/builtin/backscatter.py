"""Keeps out reports about mail that was never sent from here: backscatter, and what poses as it.

Spam with a forged sender comes back to whoever it names, as bounces of servers that took it first. So what our users
send carries a token (see origin), and a report is believed if it holds one for the address that it comes to. Answers
(vacation, RFC 3834; receipts, RFC 8098) have the null sender too and quote no header, but name the message that they
answer: message ids of what was sent are remembered for as long.

What can fail: the memory is away. What is sent goes out all the same, with a log line; an answer is then a matter for
the failure policy. The memory is for answers alone: a token needs none.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from ipaddress import ip_network
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.errors import TemporaryError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.identity import authors
from postane.filters.content.head import beginning, head
from postane.filters.returned import reading
from postane.filters.returned.origin import HEADER, Origin
from postane.filters.senders.entries import host
from postane.observe.log import get_logger

log = get_logger("filters")

NOT_OURS = Reply(550, "5.7.1", "This is about a message that was not sent from here")
MARK = "X-Postane-Backscatter"

_DAY = 86_400.0  # seconds
_HEAD = 128 * 1024  # octets of a header that are read
_SCORE = 2.0

Then = Literal["accept", "mark", "quarantine", "reject"]


class Options(base.Options, frozen=True):
    """Reports and automatic answers that are about no mail of ours."""

    on_foreign: Annotated[
        Then, Meta(description="What is done with a delivery report that holds no token of ours.")
    ] = "quarantine"
    on_reply: Annotated[
        Then, Meta(description="What is done with other mail with the null sender that answers nothing of ours.")
    ] = "mark"
    days: Annotated[int, Meta(ge=1, le=60, description="How long reports and answers are waited for.")] = 10
    remember: Annotated[
        bool, Meta(description="Keep the message ids of what is sent, so that answers to it are known.")
    ] = True
    octets: Annotated[
        int, Meta(ge=4096, le=16 * 1024 * 1024, description="How far a report is searched, from its beginning.")
    ] = 256 * 1024
    exempt: Annotated[
        tuple[str, ...],
        Meta(description="Names before the @, or addresses, to which anything with the null sender may come."),
    ] = ("postmaster", "abuse")
    trusted_peers: Annotated[
        tuple[str, ...],
        Meta(description="Networks that are not asked for a token: the host's programs, your other hosts."),
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        for network in self.trusted_peers:
            ip_network(network)


class Backscatter(base.Filter[Options]):
    name = "backscatter"
    members = True
    by_sender = True
    options_type = Options
    host = frozenset({"octets", "timeout"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = [ip_network(network) for network in options.trusted_peers]
        self._exempt = {name.lower() for name in options.exempt}

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if peer.own:
            return await self._sent(envelope, body) if envelope.sender else ACCEPT
        return await self._came(peer, envelope, body)

    async def _sent(self, envelope: Envelope, body: Body) -> Verdict:
        """Puts a token on what leaves, and remembers its message id."""
        sender = Address.parse(envelope.sender)
        if self.options.remember:
            header = head(body.chunks(), _HEAD)
            if sent := reading.message_id(header):
                author, _ = authors(header)
                await self._remember(sent, {sender.key, author.key if author else sender.key}, envelope.id)
        return Verdict(headers=((HEADER, self._origin.token(sender, self.tools.now())),))

    async def _came(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        recipients = self._asked(peer, envelope)
        if not recipients:
            return ACCEPT
        header = head(body.chunks(), _HEAD)
        report = reading.is_report(header, null_sender=not envelope.sender)
        policy: Then = self.options.on_foreign if report else self.options.on_reply
        if policy == "accept" or (envelope.sender and not report):
            return ACCEPT
        _, text = beginning(body.chunks(), self.options.octets)
        now = self.tools.now()
        if all(self._origin.proves(text, recipient, now) for recipient in recipients):
            return Verdict(why="backscatter: it holds a token of ours")
        if self.options.remember and await self._answers(reading.answered(header, text), recipients):
            return Verdict(why="backscatter: it answers a message of ours")
        verdict = _foreign(policy, "a report" if report else "an answer")
        log.info("foreign_report", trace_id=envelope.id, client_ip=peer.ip, reason=verdict.why, then=policy)
        return verdict

    def _asked(self, peer: Peer, envelope: Envelope) -> list[Address]:
        """The recipients that have to have sent something."""
        address = host(peer.ip)
        if any(address in network for network in self._trusted):
            return []
        recipients = [Address.parse(one.original or one.address) for one in envelope.recipients]
        return [one for one in recipients if one.key_local not in self._exempt and one.key not in self._exempt]

    # -- the memory -----------------------------------------------------------------------------------------------

    async def _remember(self, message_id: bytes, senders: set[str], trace_id: str) -> None:
        try:
            await self.tools.store().put(_key(message_id), " ".join(sorted(senders)), self.options.days * _DAY)
        except TemporaryError as error:
            log.error("origin_not_remembered", trace_id=trace_id, reason=str(error))
            text = "Sent messages whose answers will not be known"
            self.tools.metrics.count("postane_filter_origin_failures_total", text)

    async def _answers(self, message_ids: list[bytes], recipients: list[Address]) -> bool:
        """Raises TemporaryError."""
        for message_id in message_ids:
            senders = (await self.tools.store().get(_key(message_id)) or "").split()
            if senders and all(recipient.key in senders for recipient in recipients):
                return True
        return False

    @cached_property
    def _origin(self) -> Origin:
        """Raises PermanentError, OSError."""
        return Origin(self.tools.secret("origin"), self.options.days)


def _key(message_id: bytes) -> str:
    return f"origin:{hashlib.sha256(message_id).hexdigest()[:32]}"


def _foreign(policy: Then, what: str) -> Verdict:
    why = f"backscatter: {what} about nothing that was sent from here"
    if policy == "reject":
        return Verdict(Decision.REJECT, why, NOT_OURS)
    decision = Decision.QUARANTINE if policy == "quarantine" else Decision.ACCEPT
    return Verdict(decision, why, headers=((MARK, f"{what} about nothing that was sent from here"),), score=_SCORE)
