"""Judges the name that a client gave in HELO or EHLO, at MAIL (RFC 5321 sections 4.1.1.1 and 4.1.4).

A client that calls itself by this host's own name, or says what is neither a domain nor an address literal, is
refused by default; no mail server that means well does either. That a name leads elsewhere never refuses mail: section
4.1.4 forbids it. What the DNS does not answer refuses nothing.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.address import normal_domain
from postane.core.errors import AddressError, ConfigError
from postane.core.peer import Peer
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.auth import dialogue
from postane.filters.auth.helo import Fact, Helo, look_at
from postane.observe.log import get_logger

log = get_logger("filters")

Policy = Literal["accept", "defer", "reject"]

_SHARE = 0.8  # of the time that a call has, for questions to the DNS


class Options(base.Options, frozen=True):
    """The name in HELO or EHLO: is it one, is it ours, does it exist?"""

    ours: Annotated[Policy, Meta(description="The client uses this host's own name or address.")] = "reject"
    malformed: Annotated[Policy, Meta(description="Neither a domain nor an address literal.")] = "reject"
    false_literal: Annotated[Policy, Meta(description="An address literal that is not the client's address.")] = (
        "accept"
    )
    unqualified: Annotated[Policy, Meta(description="A single label, or an address without brackets.")] = "accept"
    no_such_name: Annotated[Policy, Meta(description="A name that has neither an address nor an MX.")] = "accept"
    own_names: Annotated[tuple[str, ...], Meta(description="Further names of this host, beside `host`.")] = ()
    own_addresses: Annotated[tuple[str, ...], Meta(description="Further addresses, beside `dns.addresses`.")] = ()
    at_once: Annotated[
        bool, Meta(description="Refuse at MAIL; else at RCPT, where the recipient's own policy counts.")
    ] = False
    trusted_peers: Annotated[
        tuple[str, ...], Meta(description="Networks that are not judged: the host's programs, your own devices.")
    ] = ("127.0.0.0/8", "::1/128")

    def __post_init__(self) -> None:
        try:
            for name in self.own_names:
                normal_domain(name)
        except AddressError as error:
            raise ValueError(str(error)) from error
        for address in self.own_addresses:
            ip_address(address)
        for network in self.trusted_peers:
            ip_network(network)


class HeloName(base.Filter[Options]):
    name = "helo"
    options_type = Options
    host = frozenset({"own_names", "own_addresses"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._trusted = [ip_network(network) for network in options.trusted_peers]
        self._names = {normal_domain(name) for name in (tools.host, *options.own_names)}
        try:
            self._addresses = {str(ip_address(text)) for text in (*tools.dns.addresses, *options.own_addresses)}
        except ValueError as error:
            raise ConfigError(f"dns.addresses: {error}") from error
        self._policies: dict[Fact, Policy] = {
            Fact.OURS: options.ours,
            Fact.MALFORMED: options.malformed,
            Fact.FALSE_LITERAL: options.false_literal,
            Fact.UNQUALIFIED: options.unqualified,
            Fact.NO_SUCH_NAME: options.no_such_name,
        }
        self._ask = tools.resolver()

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        address = ip_address(peer.ip)
        if peer.login or any(address in network for network in self._trusted):
            return ACCEPT
        question = look_at(peer.helo, address, self._names, self._addresses)
        found = await dialogue.run(question, self._ask, self.options.timeout * _SHARE)
        verdict = _verdict(found, self._policies.get(found.fact, "accept"), at_once=self.options.at_once)
        if verdict.reply is not None and self.options.at_once:
            log.info("refused", client_ip=peer.ip, sender=sender, reply=str(verdict.reply), reason=verdict.why)
        return verdict


def _verdict(found: Helo, policy: Policy, *, at_once: bool) -> Verdict:
    why = f"HELO: {found.fact.replace('_', ' ')}{f': {found.reason}' if found.reason else ''}"
    if policy == "accept":
        return Verdict(why=why, opinion=True)
    reason = found.reason if found.reason.isascii() and found.reason.isprintable() else found.fact.replace("_", " ")
    refused, code = (Decision.DEFER, 450) if policy == "defer" else (Decision.REJECT, 550)
    reply = Reply(code, f"{code // 100}.7.1", f"HELO: {reason[:400]}")
    return Verdict(refused, why, reply, opinion=True, at_once=at_once)
