"""Limits of rate: connections, messages, recipients and octets, for whoever sends; shared by all workers and hosts.

What comes from outside is counted by the peer's address, its network, the envelope sender and the recipient's domain;
what our own users send by account, domain and tenant. A bucket (GCRA) holds `burst` and fills by `rate`: who was quiet
may send so much at once, and on the average nobody sends more than the rate. What is refused does not count.

Refusals are temporary: 421 in place of the greeting, 451 after MAIL and after the text, 450 after RCPT.
A peer that asked for too many recipients who do not exist hears neither who does nor who does not.

What can fail: the store is away; the failure policy decides. State: none of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.errors import AddressError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.pace.budget import Budget, Due, Limit, check, words
from postane.filters.pace.net import neighbourhood, networks, unit, within
from postane.observe.log import get_logger

log = get_logger("filters")

_DAY = 86_400.0


class Options(base.Options, frozen=True):
    """Limits of rate by peer, network, sender, recipient domain, account, domain and tenant."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 5.0
    peer: Annotated[
        tuple[Limit, ...], Meta(description="For each IPv4 address and each IPv6 /64 that mail comes from.")
    ] = (
        Limit(counts="connections", rate=300, seconds=60),
        Limit(counts="messages", rate=3000, seconds=600),
        Limit(counts="unknown_recipients", rate=60),
    )
    net: Annotated[tuple[Limit, ...], Meta(description="For each IPv4 /24 and IPv6 /64.")] = (
        Limit(counts="connections", rate=1200, seconds=60),
        Limit(counts="unknown_recipients", rate=300),
    )
    sender: Annotated[tuple[Limit, ...], Meta(description="For each envelope sender from outside.")] = (
        Limit(counts="recipients", rate=3000),
    )
    recipient_domain: Annotated[
        tuple[Limit, ...], Meta(description="For each domain that mail from outside is for.")
    ] = ()
    account: Annotated[tuple[Limit, ...], Meta(description="For each of our users who has logged in.")] = (
        Limit(counts="messages", rate=500),
        Limit(counts="recipients", rate=1000),
        Limit(counts="recipients", rate=5000, seconds=_DAY),
    )
    domain: Annotated[tuple[Limit, ...], Meta(description="For all who log in with an address of one domain.")] = (
        Limit(counts="recipients", rate=50_000, seconds=_DAY),
    )
    tenant: Annotated[tuple[Limit, ...], Meta(description="For all users of one tenant.")] = (
        Limit(counts="recipients", rate=200_000, seconds=_DAY),
    )
    mode: Annotated[
        Literal["enforce", "watch"],
        Meta(description="`watch`: log and count what would be refused, and refuse nothing."),
    ] = "enforce"
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks that are not limited: the host's programs, your own backup MX.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        networks(self.trusted_peers)
        check(self.limits)

    @property
    def limits(self) -> Mapping[str, tuple[Limit, ...]]:
        """By whom they are for."""
        return {
            "peer": self.peer,
            "net": self.net,
            "sender": self.sender,
            "recipient_domain": self.recipient_domain,
            "account": self.account,
            "domain": self.domain,
            "tenant": self.tenant,
        }


class Rates(base.Filter[Options]):
    name = "rates"
    members = True
    by_sender = True
    options_type = Options

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = networks(options.trusted_peers)
        self._store = tools.store()
        # What comes from outside may be judged by several recipients' options: each counts for itself.
        self._space = blake2b(msgspec.json.encode(options.limits), digest_size=8).hexdigest()
        self._due = Budget(options.limits, self._space).due

    async def connect(self, peer: Peer) -> Verdict:
        if peer.own or self._is_trusted(peer):
            return ACCEPT
        who = self._outside(peer)
        wanted = [*self._due(who, "connections"), *self._due(who, "unknown_recipients", look=True)]
        return await self._judge(peer, wanted, 421, at_once=True)

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return await self._judge(peer, self._due(self._who(peer, sender), "messages"), 451, at_once=True)

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        who = self._who(peer, sender, recipient)
        wanted = [*self._due(who, "recipients"), *self._due(who, "unknown_recipients", look=True)]
        return await self._judge(peer, wanted, 450)

    async def unknown(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return await self._judge(peer, self._due(self._who(peer, sender), "unknown_recipients"), 450)

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        wanted = self._due(self._who(peer, envelope.sender), "octets", body.size)
        if not wanted:
            return ACCEPT
        # Once a message, however many policies ask.
        return await self.tools.once(envelope.id, f"rates {self._space}", lambda: self._judge(peer, wanted, 451))

    async def close(self) -> None:
        await self._store.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _is_trusted(self, peer: Peer) -> bool:
        return within(peer.ip, self._trusted)

    def _who(self, peer: Peer, sender: str, recipient: Address | None = None) -> dict[str, str]:
        """Whose limits hold, by kind."""
        if peer.login:
            return {"account": peer.login, "domain": peer.login.rpartition("@")[2], "tenant": peer.tenant}
        if peer.own or self._is_trusted(peer):
            return {}
        found = self._outside(peer)
        found["sender"] = _normal(sender)  # not the null sender: it is everybody's
        if recipient is not None:
            found["recipient_domain"] = recipient.key_domain
        return found

    def _outside(self, peer: Peer) -> dict[str, str]:
        return {"peer": unit(peer.ip), "net": neighbourhood(peer.ip)}

    async def _judge(self, peer: Peer, wanted: list[Due], code: int, *, at_once: bool = False) -> Verdict:
        """What is enforced is granted all together or not at all; what is watched, each for itself."""
        if not wanted:
            return ACCEPT
        watched = [one for one in wanted if "watch" in (one.limit.mode, self.options.mode)]
        enforced = [one for one in wanted if one not in watched] if watched else wanted
        waits = await self._store.take_all([one.charge for one in enforced])
        others = await asyncio.gather(*(self._store.take_all([one.charge]) for one in watched)) if watched else []
        for one, (wait,) in zip(watched, others, strict=True):
            if wait:
                self._tell(peer, one, wait, "watch")
        passed = [(wait, one) for wait, one in zip(waits, enforced, strict=True) if wait]
        for wait, one in passed:
            self._tell(peer, one, wait, "enforce")
        if not passed:
            return ACCEPT
        wait, one = max(passed, key=lambda pair: pair[0])
        reply = Reply(code, "4.7.1", words(one, wait if wait < math.inf else one.limit.seconds))
        why = f"rates: {one.whose} {one.who}: over {one.limit}"
        return Verdict(Decision.DEFER, why, reply, at_once=at_once)

    def _tell(self, peer: Peer, passed: Due, wait: float, mode: str) -> None:
        log.warning(
            "rate_exceeded",
            whose=passed.whose,
            who=passed.who,
            limit=str(passed.limit),
            seconds=round(wait, 1),
            mode=mode,
            client_ip=peer.ip,
            login=peer.login,
        )
        self.tools.metrics.count(
            "postane_filter_rates_exceeded_total",
            "Times a limit of rate was passed",
            whose=passed.whose,
            counts=passed.limit.counts,
            mode=mode,
        )


def _normal(sender: str) -> str:
    try:
        return Address.parse(sender).key if sender else ""
    except AddressError:
        return sender
