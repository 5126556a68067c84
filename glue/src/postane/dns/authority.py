"""Questions to name servers themselves, with no resolver in between: what a zone holds, not what a cache remembers.

One question is one datagram, and TCP where the answer was cut. No recursion is asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from postane.core.errors import TemporaryError
from postane.dns.records import Record

PAYLOAD = 1232  # octets of a datagram that no network breaks up
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Said:
    """One server's answer. `zone` is the one that it refers to, or whose SOA it shows; `servers` those of a referral,
    each with the addresses that came along, and `vouched` its DS records.
    """

    code: str
    authoritative: bool
    records: tuple[Record, ...] = ()
    zone: str = ""
    servers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    vouched: tuple[Record, ...] = ()

    @property
    def refers(self) -> bool:
        return bool(self.servers) and not self.records

    @property
    def usable(self) -> bool:
        """False for what a server says of a zone that it does not serve (lame)."""
        return self.authoritative and self.code in ("NOERROR", "NXDOMAIN")


class Authority:
    """`asked` counts questions. `port` is another than 53 in tests."""

    def __init__(self, timeout: float = 3.0, port: int = 53, at_once: int = AT_ONCE) -> None:
        self.timeout = timeout
        self.port = port
        self.asked = 0
        self._turns = asyncio.Semaphore(at_once)

    async def ask(self, address: str, name: str, kind: str, *, signed: bool = False) -> Said:
        """Raises TemporaryError where no answer comes, or none that can be read. `signed` asks for a referral's DS."""
        return _said(await self.message(address, name, kind, signed=signed))

    async def message(self, address: str, name: str, kind: str, *, signed: bool = False) -> dns.message.Message:
        """The answer as it came; `signed`: with signatures. Raises TemporaryError."""
        try:
            query = dns.message.make_query(
                dns.name.from_text(name), kind, use_edns=0, payload=PAYLOAD, want_dnssec=signed
            )
        except dns.exception.DNSException as error:
            raise TemporaryError(f"DNS: {name!r} cannot be asked for: {error}") from error
        query.flags &= ~dns.flags.RD
        async with self._turns:
            self.asked += 1
            try:
                response, _ = await dns.asyncquery.udp_with_fallback(query, address, self.timeout, self.port)
            except dns.exception.Timeout as error:
                raise TemporaryError(f"DNS: {address} is silent about {name} {kind} for {self.timeout:g} s") from error
            except (dns.exception.DNSException, OSError, EOFError) as error:
                raise TemporaryError(f"DNS: {address}: {name} {kind}: {error}") from error
        return response


def _said(response: dns.message.Message) -> Said:
    zone = ""
    servers: list[tuple[str, tuple[str, ...]]] = []
    vouched: list[Record] = []
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            zone = _name(rrset.name)
        elif rrset.rdtype == dns.rdatatype.NS and not response.flags & dns.flags.AA:
            zone = _name(rrset.name)
            servers += [(_name(rr.target), _glue(response, rr.target)) for rr in rrset]
        elif rrset.rdtype == dns.rdatatype.DS:
            vouched += records_of(rrset)
    records = tuple(one for rrset in response.answer for one in records_of(rrset))
    code = dns.rcode.to_text(response.rcode())
    return Said(code, bool(response.flags & dns.flags.AA), records, zone, tuple(servers), tuple(vouched))


def records_of(rrset: dns.rrset.RRset) -> list[Record]:
    """The records of a set, in the form of the rest of the code; those of signing are left out."""
    kind = dns.rdatatype.to_text(rrset.rdtype)
    if rrset.rdclass != dns.rdataclass.IN or kind in SIGNING:
        return []
    return [Record(_name(rrset.name), kind, rr.to_text(), rrset.ttl) for rr in rrset]


SIGNING = frozenset(
    ("RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "ZONEMD", "TYPE65534")
)  # a signing server's own, never a customer's


def _glue(response: dns.message.Message, target: dns.name.Name) -> tuple[str, ...]:
    found = [
        rr.address
        for rrset in response.additional
        if rrset.name == target and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for rr in rrset
    ]
    return tuple(sorted(found, key=lambda address: ":" in address))  # IPv4 first: not every host has the other


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
