"""Greylisting (RFC 6647): a sender who is not known is asked to come again, which programs that spray mail do not do.

Only the doubtful are asked: those with a score from other filters, without a good name, or whom SPF disowns. What is
remembered is where the mail came from (the domain for which SPF passed, else the /24 or /64), the sender and the
recipient's domain; so a sender with many outgoing servers waits once. Who came again a few times is learned and waits
no more, whoever the mail is for.

What can fail: the store is away; the failure policy decides. A DNS that does not answer makes nobody doubtful.
"""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.core.peer import Peer
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.checked import reverse_name, spf
from postane.filters.auth.iprev import Result as Name
from postane.filters.auth.spf import Checked
from postane.filters.auth.spf_record import Result
from postane.filters.pace.grey import Known, Seen, is_generic, key, lasting, remaining
from postane.filters.pace.net import neighbourhood, networks, within
from postane.observe.log import get_logger

log = get_logger("filters")

_DAY = 86_400.0
_FRESH = _DAY  # what was seen so recently need not be noted again
_SHARE = 0.7  # of the time that a call has, for questions to the DNS


class Options(base.Options, frozen=True):
    """Greylisting: the doubtful are asked to come again."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 15.0
    when: Annotated[
        Literal["doubtful", "always"], Meta(description="Who has to come again: only the doubtful, or whoever is new.")
    ] = "doubtful"
    score: Annotated[float, Meta(description="Doubtful from this score on, which other filters gave before.")] = 2.0
    helo: Annotated[bool, Meta(description="Doubtful: a HELO that is no name with a dot in it.")] = True
    name: Annotated[
        bool, Meta(description="Doubtful: an address without a name, or whose name does not lead back.")
    ] = True
    generic: Annotated[bool, Meta(description="Doubtful: an address whose name only repeats its numbers.")] = True
    spf: Annotated[bool, Meta(description="Doubtful: fail or softfail of SPF.")] = True
    wait: Annotated[float, Meta(ge=1, le=3600, description="Seconds before a new try passes.")] = 60.0
    window: Annotated[float, Meta(ge=600, description="Seconds in which the new try has to come.")] = _DAY
    lifetime: Annotated[
        float, Meta(ge=3600, description="Seconds for which a sender who passed is remembered after the last mail.")
    ] = 36 * _DAY
    learn: Annotated[
        int, Meta(ge=0, description="A sender who came again so often never waits any more; 0: is never learned.")
    ] = 3
    header: Annotated[bool, Meta(description="X-Greylist tells how long a message was kept waiting.")] = False
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks that never wait: the host's programs, your own backup MX.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        networks(self.trusted_peers)
        if self.window <= self.wait:
            raise ValueError("window has to be longer than wait")


class Greylist(base.Filter[Options]):
    name = "greylist"
    options_type = Options

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = networks(options.trusted_peers)
        self._ask = tools.resolver()
        self._store = tools.store()

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        if peer.own or peer.login or within(peer.ip, self._trusted):
            return ACCEPT
        doubt = "new" if self.options.when == "always" else await self._doubt(peer, sender)
        if not doubt:
            return ACCEPT
        return await self._judge(peer, sender, recipient, doubt)

    async def close(self) -> None:
        await self._store.close()

    # -- who is doubtful ----------------------------------------------------------------------------------------------

    async def _doubt(self, peer: Peer, sender: str) -> str:
        """Why the peer is doubtful, "" if it is not; what costs nothing is looked at first."""
        if peer.score >= self.options.score:
            return f"score {peer.score:g}"
        if self.options.helo and not peer.helo.startswith("[") and "." not in peer.helo.strip("."):
            return f"HELO {peer.helo!r}"
        if self.options.name or self.options.generic:
            found = await reverse_name(self.tools, self._ask, peer.ip, self._seconds)
            if self.options.name and found.result in (Name.FAIL, Name.PERMERROR):
                return found.reason
            if self.options.generic and is_generic(found.name, peer.ip):
                return f"generic name {found.name}"
        if self.options.spf:
            checked = await self._spf(peer, sender)
            if checked.result in (Result.FAIL, Result.SOFTFAIL):
                return f"SPF {checked.result} of {checked.domain}"
        return ""

    @property
    def _seconds(self) -> float:
        return self.options.timeout * _SHARE / 2

    async def _spf(self, peer: Peer, sender: str) -> Checked:
        return await spf(self.tools, self._ask, peer, sender, self._seconds)

    # -- who has been here --------------------------------------------------------------------------------------------

    async def _judge(self, peer: Peer, sender: str, recipient: Address, doubt: str) -> Verdict:
        local, domain = _parts(sender)
        checked = await self._spf(peer, sender)
        everybody = checked.mechanism.lstrip("+") == "all" or checked.mechanism.endswith("/0")
        if checked.result is Result.PASS and not everybody:
            where, who = f"spf {checked.domain}", "*"  # the domain answers for all its users
        else:
            where, who = neighbourhood(peer.ip), lasting(local)
        mail, source = key("mail", where, who, domain, recipient.key_domain), key("known", where, domain)
        seen_text, known_text = await asyncio.gather(self._store.get(mail), self._store.get(source))
        seen, known, now = Seen.read(seen_text), Known.read(known_text), self.tools.now()

        if known is not None and 0 < self.options.learn <= known.passes:
            if not 0 <= now - known.last < _FRESH:
                await self._store.put(source, str(Known(known.passes, now)), self.options.lifetime)
            return self._count("learned")
        if seen is not None and seen.passed:
            if not 0 <= now - seen.last < _FRESH:
                await self._store.put(mail, str(Seen(seen.first, now, True)), self.options.lifetime)
            return self._count("known")
        left = remaining(seen, now, self.options.wait)
        if left:
            if seen is None or now < seen.first:
                await self._store.put(mail, str(Seen(now, now)), self.options.window)
            return self._defer(peer, sender, recipient, left, f"{doubt}; {where}")
        known = known.again(now, self.options.wait) if known is not None else Known(1, now)
        delay = now - seen.first if seen is not None else 0.0
        await asyncio.gather(
            self._store.put(mail, str(Seen(now - delay, now, True)), self.options.lifetime),
            self._store.put(source, str(known), self.options.lifetime),
        )
        log.info(
            "greylist_passed",
            client_ip=peer.ip,
            sender=sender,
            seconds=round(delay),
            passes=known.passes,
            where=where,
        )
        self._count("passed")
        if not self.options.header:
            return ACCEPT
        return Verdict(headers=(("X-Greylist", f"delayed {delay:.0f} seconds by {self.tools.host}"),))

    def _defer(self, peer: Peer, sender: str, recipient: Address, left: float, why: str) -> Verdict:
        seconds = math.ceil(left)
        log.info("greylisted", client_ip=peer.ip, sender=sender, recipient=str(recipient), seconds=seconds, reason=why)
        self._count("deferred")
        plural = "" if seconds == 1 else "s"
        reply = Reply(451, "4.7.1", f"Greylisted: you are new here; try again in {seconds} second{plural}")
        return Verdict(Decision.DEFER, f"greylist: {why}", reply, opinion=True)

    def _count(self, result: str) -> Verdict:
        self.tools.metrics.count(
            "postane_filter_greylist_total", "Recipients that greylisting looked at", result=result
        )
        return ACCEPT


def _parts(sender: str) -> tuple[str, str]:
    """Local part and domain in their normal form; "" for the null sender."""
    try:
        address = Address.parse(sender)
    except AddressError:
        return "", ""
    return address.key_local, address.key_domain
