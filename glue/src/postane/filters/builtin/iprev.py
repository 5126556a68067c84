"""Judges a client by the name of its address, before it has said anything (iprev, RFC 8601 section 3; FCrDNS).

Many good servers have no name that leads back to them, so nothing is refused by default: then the filter only sees to
it that the answers are at hand when `authentication` writes them down. What the DNS does not answer defers at most.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.peer import Peer
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth.checked import reverse_name
from postane.filters.auth.iprev import Result, Reverse
from postane.observe.log import get_logger

log = get_logger("filters")

Policy = Literal["accept", "defer", "reject"]

_SHARE = 0.8  # of the time that a call has, for questions to the DNS


class Options(base.Options, frozen=True):
    """The name of the client's address: has it one, and does it lead back?"""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 6.0
    no_name: Annotated[Policy, Meta(description="The address has no name (permerror).")] = "accept"
    fail: Annotated[Policy, Meta(description="No name of the address leads back to it.")] = "accept"
    temperror: Annotated[Literal["accept", "defer"], Meta(description="The DNS gives no answer.")] = "accept"
    at_once: Annotated[
        bool,
        Meta(description="Refuse in place of the greeting; else at RCPT, where the recipient's own policy counts."),
    ] = False
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks that are not judged: the host's programs, your own devices.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        for network in self.trusted_peers:
            ip_network(network)


class Iprev(base.Filter[Options]):
    name = "iprev"
    options_type = Options
    host = frozenset({"timeout"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = [ip_network(network) for network in options.trusted_peers]
        self._policies: dict[Result, Policy] = {
            Result.PERMERROR: options.no_name,
            Result.FAIL: options.fail,
            Result.TEMPERROR: options.temperror,
        }
        self._ask = tools.resolver()

    async def connect(self, peer: Peer) -> Verdict:
        address = ip_address(peer.ip)
        if any(address in network for network in self._trusted):
            return ACCEPT
        found = await reverse_name(self.tools, self._ask, peer.ip, self.options.timeout * _SHARE)
        verdict = _verdict(found, self._policies.get(found.result, "accept"), at_once=self.options.at_once)
        if verdict.reply is not None and self.options.at_once:
            log.info("refused", client_ip=peer.ip, reply=str(verdict.reply), reason=verdict.why)
        return verdict


def _verdict(found: Reverse, policy: Policy, *, at_once: bool) -> Verdict:
    why = f"iprev: {found.result}: {found.reason or found.name}"
    if policy == "accept":
        return Verdict(why=why, opinion=True)
    says = found.reason[:400] if found.reason.isprintable() and found.reason.isascii() else "the name of your address"
    # In place of the greeting there are only 554 and 421 (RFC 5321 section 4.3.2).
    if policy == "defer":
        decision, code = Decision.DEFER, 421 if at_once else 450
    else:
        decision, code = Decision.REJECT, 554 if at_once else 550
    reply = Reply(code, f"{code // 100}.7.25", f"Reverse DNS: {says}")
    return Verdict(decision, why, reply, opinion=True, at_once=at_once)
