"""The records that a hosted domain needs, and what has to change for a zone to have them. Pure: nothing is asked.

Postane owns the records named by `owns`; all others of a zone (a web site's address, another sender's DKIM key)
are the customer's, or the signer's, and are never touched.
Data is in presentation form as Knot prints it, so that served and wanted records can be compared as text.

Sources: RFC 1035 (zones), RFC 7208 (SPF), RFC 6376 section 3.6.2 (DKIM keys), RFC 7489 section 6.1 (DMARC).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

from postane.config.model import Dns
from postane.core.errors import ConfigError

TTL = 3600  # seconds
SERVICES = ("webmail", "panel")  # beside the host, in the host's own domain

_OUR_SELECTOR = re.compile(r"[a-z0-9-]*-(?:rsa|ed25519)-\d+\._domainkey\.")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_ESCAPE = re.compile(r"\\(?:(\d{3})|(.))")
_MAX_STRING = 255  # octets of one string in a TXT record, RFC 1035 section 3.3.14


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One record. `name` is absolute, lower-case, without the last dot; `ttl` in seconds."""

    name: str
    type: str
    data: str
    ttl: int = TTL

    def __str__(self) -> str:
        return f"{self.name}. {self.ttl} IN {self.type} {self.data}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a zone loses and gets, in this order. Empty: it is as it should be."""

    zone: str
    remove: tuple[Record, ...]
    add: tuple[Record, ...]

    def __bool__(self) -> bool:
        return bool(self.remove or self.add)


def wanted(domain: str, host: str, dkim: Iterable[tuple[str, str]], settings: Dns) -> list[Record]:
    """The records of a hosted domain, sorted; `dkim` are pairs (selector, text of the key record).

    The serial number in SOA is 0: who publishes puts in the one that is due. Raises ConfigError for a bad address.
    """
    servers = settings.name_servers or (host,)
    records = [
        Record(domain, "SOA", f"{servers[0]}. hostmaster.{domain}. 0 10800 3600 1209600 3600"),
        *(Record(domain, "NS", f"{server}.") for server in servers),
        Record(domain, "MX", f"10 {host}."),
        Record(domain, "TXT", text_data("v=spf1 mx -all")),
        Record(f"_dmarc.{domain}", "TXT", text_data(f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}")),
        *(Record(f"{selector}._domainkey.{domain}", "TXT", text_data(text)) for selector, text in dkim),
    ]
    for name in _service_names(domain, host):
        records += [_address(name, address) for address in settings.addresses]
    return sorted(records)


def owns(record: Record, domain: str, host: str) -> bool:
    """True for a record that Postane puts in, changes and takes out."""
    if record.type in ("SOA", "NS", "MX"):
        return record.name == domain
    if record.type == "TXT":
        return (
            (record.name == domain and record.data.startswith('"v=spf1 '))
            or record.name == f"_dmarc.{domain}"
            or _OUR_SELECTOR.match(record.name) is not None
        )
    return record.type in ("A", "AAAA") and record.name in _service_names(domain, host)


def difference(domain: str, host: str, served: Iterable[Record], desired: Sequence[Record], *, serial: int) -> Plan:
    """What makes `desired` of `served`. `serial` is for a zone that has none yet; later ones are the server's own."""
    foreign_ttl: dict[tuple[str, str], int] = {}
    ours: set[Record] = set()
    for record in served:
        if owns(record, domain, host):
            ours.add(record)
        else:
            foreign_ttl[record.name, record.type] = record.ttl

    soa = next((record for record in ours if record.type == "SOA"), None)
    target = {
        # All records of one name and type have one TTL (RFC 2181 section 5.2): the customer's, where there is one.
        replace(record, ttl=foreign_ttl.get((record.name, record.type), record.ttl))
        if record.type != "SOA"
        else _with_serial(record, _serial(soa) if soa else serial)
        for record in desired
    }
    return Plan(domain, tuple(sorted(ours - target)), tuple(sorted(target - ours, key=_soa_first)))


def zone_file(records: Iterable[Record]) -> str:
    """The records as a zone file (RFC 1035 section 5), one a line."""
    return "".join(f"{record}\n" for record in sorted(records, key=_soa_first))


def _soa_first(record: Record) -> tuple[bool, Record]:
    return record.type != "SOA", record


def _serial(soa: Record) -> int:
    return int(soa.data.split()[2])


def _with_serial(soa: Record, serial: int) -> Record:
    fields = soa.data.split()
    fields[2] = str(serial)
    return replace(soa, data=" ".join(fields))


def _service_names(domain: str, host: str) -> list[str]:
    """The host and its services, as far as they lie in the zone."""
    _, _, parent = host.partition(".")
    names = (host, *(f"{service}.{parent}" for service in SERVICES))
    return [name for name in names if name == domain or name.endswith(f".{domain}")]


def _address(name: str, text: str) -> Record:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ConfigError(f"dns.addresses: {text!r} is not an IP address") from error
    return Record(name, "A" if isinstance(address, IPv4Address) else "AAAA", str(address))


def text_data(value: str) -> str:
    """TXT data of any text: strings of at most 255 octets, which readers join again (RFC 1035 sections 3.3.14, 5.1)."""
    octets = value.encode()
    strings = [octets[start : start + _MAX_STRING] for start in range(0, len(octets), _MAX_STRING)] or [b""]
    return " ".join(f'"{"".join(map(_escaped, string))}"' for string in strings)


def text_of(data: str) -> str:
    """The text of TXT data, its strings joined; what is no UTF-8 is replaced."""
    return b"".join(_unescaped(quoted or bare) for quoted, bare in _STRING.findall(data)).decode("utf-8", "replace")


def canonical(record: Record) -> tuple[str, str, str]:
    """The same for records that say the same, however their data is written (name, type, data; not the TTL)."""
    data = record.data
    match record.type:
        case "TXT" | "SPF":
            data = text_of(data)
        case "MX" | "CNAME" | "NS" | "PTR" | "SRV" | "DNAME":
            data = " ".join(data.lower().split())
        case "TLSA" | "DS":
            *numbers, digest = data.lower().split(None, 3)
            data = " ".join([*numbers, digest.replace(" ", "")])
        case "CAA":
            flags, tag, value = ([*data.split(None, 2), "", ""])[:3]
            data = f"{flags} {tag.lower()} {text_of(value)}"
        case "A" | "AAAA":
            try:
                data = str(ip_address(data))
            except ValueError:
                data = data.lower()
    return record.name, record.type, data


def _escaped(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03d}"


def _unescaped(string: str) -> bytes:
    return _ESCAPE.sub(lambda m: chr(int(m[1])) if m[1] and int(m[1]) < 256 else m[2] or m[1], string).encode(
        "latin-1", "replace"
    )
