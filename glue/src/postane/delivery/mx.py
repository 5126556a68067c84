"""Which servers take a domain's mail, in the order to try them (RFC 5321 section 5.1).

The decision is pure (`order`); `find` asks the DNS for what it needs. A domain that can never get mail is a
RefusedError with the reply that its sender will read; a DNS that does not answer stays a TemporaryError.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Protocol

from postane.core.errors import NotFoundError, TemporaryError
from postane.core.reply import Reply

MOST_ADDRESSES = 10  # tried for one message: a hostile DNS must not keep us busy


class MailHost(Protocol):
    @property
    def preference(self) -> int: ...
    @property
    def name(self) -> str: ...


class Lookup(Protocol):
    """What is asked of the DNS (dns.resolver.Resolver). Raises NotFoundError for no such name, TemporaryError."""

    async def mail_hosts(self, domain: str) -> Sequence[MailHost]: ...

    async def addresses(self, host: str, *, ipv6: bool = True) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """One address of one mail server."""

    host: str
    address: str

    def __str__(self) -> str:
        return f"{self.host}[{self.address}]"


class RefusedError(Exception):
    """Mail for the domain can never be delivered; `reply` says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class OwnHost:
    """By what this host knows itself: a domain whose MX is here, but which is not hosted here, would loop."""

    names: Collection[str] = ()
    addresses: Collection[str] = ()
    loopback: bool = True

    def is_name(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.names

    def is_address(self, address: str) -> bool:
        parsed = ip_address(address)
        return (self.loopback and (parsed.is_loopback or parsed.is_unspecified)) or address in self.addresses


def order(domain: str, records: Sequence[MailHost], ours: OwnHost, random: Random) -> list[str]:
    """Names to try: by preference, at random among equals; none from our own preference on. Raises RefusedError."""
    if not records:
        # Section 5.1: no MX means an MX of preference 0 at the domain itself.
        return [domain] if not ours.is_name(domain) else _loop(domain)
    if any(record.name == "" for record in records):
        if len(records) == 1:
            raise RefusedError(Reply(556, "5.1.10", f"{domain} accepts no mail (null MX)"))  # RFC 7505 section 4.1
        records = [record for record in records if record.name]
    limit = min((record.preference for record in records if ours.is_name(record.name)), default=None)
    left = [record for record in records if limit is None or record.preference < limit]
    if not left:
        return _loop(domain)
    shuffled = random.sample(left, len(left))
    return [record.name for record in sorted(shuffled, key=lambda record: record.preference)]


def _loop(domain: str) -> list[str]:
    raise RefusedError(Reply(554, "5.4.6", f"Mail for {domain} leads back to this host, which does not host it"))


async def find(domain: str, lookup: Lookup, ours: OwnHost, random: Random, *, ipv6: bool) -> list[Target]:
    """Addresses to try, in order. Raises RefusedError, TemporaryError."""
    if domain.startswith("["):
        address = domain.strip("[]").removeprefix("IPv6:")
        if ours.is_address(address):
            _loop(domain)
        return [Target(domain, address)]
    try:
        records = await lookup.mail_hosts(domain)
    except NotFoundError as error:
        raise RefusedError(Reply(550, "5.1.2", f"The domain {domain} does not exist")) from error
    targets: list[Target] = []
    failure: TemporaryError | None = None
    for host in order(domain, records, ours, random):
        try:
            addresses = await lookup.addresses(host, ipv6=ipv6)
        except TemporaryError as error:
            failure = error
            continue
        if any(ours.is_address(address) for address in addresses):
            # Our own address under another name: this one and all that are worse lead back to us.
            if not targets and failure is None:
                _loop(domain)
            break
        targets += [Target(host, address) for address in addresses]
        if len(targets) >= MOST_ADDRESSES:
            break
    if not targets:
        if failure is not None:
            raise failure
        raise RefusedError(Reply(550, "5.4.4", f"No mail server of {domain} has an address"))
    return targets[:MOST_ADDRESSES]
