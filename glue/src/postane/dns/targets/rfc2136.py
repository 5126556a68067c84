"""A name server elsewhere that takes DNS UPDATE (RFC 2136), signed with a TSIG key (RFC 8945).

What was planned for goes along as prerequisites (RFC 2136 section 2.4): the server itself refuses a change whose world
has changed, and makes all of it or nothing. The zone is read by a transfer (RFC 5936) where the key allows one.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from postane.core.errors import ConfigError, NotAllowedError, ServiceMissingError
from postane.dns.authority import SIGNING, records_of
from postane.dns.records import Record
from postane.dns.targets.base import WorldChangedError

_CHANGED = (dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN)
_NOT_ALLOWED = (dns.rcode.REFUSED, dns.rcode.NOTAUTH)


class Rfc2136:
    """`key` is None for a server that goes by addresses."""

    writable = True
    whole_zones = False
    types = None

    def __init__(
        self,
        name: str,
        address: str,
        port: int = 53,
        key: dns.tsig.Key | None = None,
        timeout: float = 10.0,
        text_limit: int = 0,
        least_ttl: int = 0,
    ) -> None:
        self.name = name
        self.text_limit = text_limit
        self.least_ttl = least_ttl
        self._address = address
        self._port = port
        self._key = key
        self._timeout = timeout

    async def read(self, zone: str) -> list[Record] | None:
        """None where the server gives no transfer: then its zone is asked about as any other."""
        return await asyncio.to_thread(self._transfer, zone)

    async def apply(
        self, zone: str, remove: Sequence[Record], add: Sequence[Record], before: Sequence[Record] | None = None
    ) -> None:
        update = dns.update.UpdateMessage(zone)
        if self._key is not None:
            update.use_tsig(self._key)
        if before is not None:
            _require(update, {(one.name, one.type) for one in (*remove, *add)}, before)
            for record in add:
                if record.type == "CNAME" and not any(one.name == record.name for one in before):
                    update.absent(dns.name.from_text(record.name))  # of any type: an alias stands alone
        for record in remove:
            update.delete(dns.name.from_text(record.name), _rdata(record))
        for record in add:
            update.add(dns.name.from_text(record.name), record.ttl, _rdata(record))
        response = await self._send(update, zone)
        code = response.rcode()
        if code in _CHANGED:
            raise WorldChangedError(
                f"{zone} has changed at {self.name} since the plan was made ({dns.rcode.to_text(code)})",
                hint="plan again, and look at what changed",
            )
        if code in _NOT_ALLOWED:
            raise NotAllowedError(
                f"{self.name} refuses a change of {zone} ({dns.rcode.to_text(code)})",
                hint=f"does the key of dns.targets.{self.name} have the right to update this zone?",
            )
        if code != dns.rcode.NOERROR:
            raise ServiceMissingError(f"{self.name} does not take a change of {zone} ({dns.rcode.to_text(code)})")

    async def _send(self, update: dns.message.Message, zone: str) -> dns.message.Message:
        try:
            return await dns.asyncquery.tcp(update, self._address, self._timeout, self._port)
        except dns.tsig.PeerError as error:
            raise NotAllowedError(
                f"{self.name} does not accept the key for {zone}: {error}",
                hint=f"is the key of dns.targets.{self.name} known there, may it update, are the clocks right?",
            ) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise ServiceMissingError(f"{self.name} does not answer about {zone}: {error or 'time is over'}") from error

    def _transfer(self, zone: str) -> list[Record] | None:
        origin = dns.name.from_text(zone)
        found = dns.zone.Zone(origin, relativize=False)
        try:
            query, _ = dns.xfr.make_query(found, keyring=self._key)
            dns.query.inbound_xfr(
                self._address, found, query, port=self._port, timeout=self._timeout, lifetime=self._timeout
            )
        except dns.xfr.TransferError:
            return None
        except dns.tsig.PeerError as error:
            raise NotAllowedError(
                f"{self.name} does not accept the key for {zone}: {error}",
                hint=f"is the key of dns.targets.{self.name} known there, may it update, are the clocks right?",
            ) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise ServiceMissingError(f"{self.name} does not answer about {zone}: {error or 'time is over'}") from error
        records: list[Record] = []
        for name, node in found.nodes.items():
            for rdataset in node.rdatasets:
                records += records_of(dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset)))
        return sorted(one for one in records if one.type not in SIGNING)


def key_from(name: str, algorithm: str, file: str) -> dns.tsig.Key | None:
    """The key of a configuration; None where no name is given. Raises ConfigError."""
    if not name:
        return None
    try:
        secret = base64.b64decode(Path(file).read_text("ascii").strip(), validate=True)
        return dns.tsig.Key(name, secret, algorithm)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the TSIG key {name} in {file!r} cannot be read: {error}") from error


def _require(update: dns.update.UpdateMessage, sets: set[tuple[str, str]], before: Sequence[Record]) -> None:
    """Each set that is touched has to be as it was: just these records, or none (RFC 2136 sections 2.4.2 and 2.4.3)."""
    for name, kind in sorted(sets):
        there = [one for one in before if (one.name, one.type) == (name, kind)]
        if there:
            update.present(dns.name.from_text(name), *(_rdata(one) for one in there))
        else:
            update.absent(dns.name.from_text(name), kind)


def _rdata(record: Record) -> dns.rdata.Rdata:
    try:
        return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(record.type), record.data)
    except dns.exception.DNSException as error:
        raise ConfigError(f"{record} is no record: {error}") from error
