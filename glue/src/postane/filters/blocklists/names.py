"""The names that a list is asked for, and those by which it is tested (RFC 5782). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

from postane.core.address import MAX_DOMAIN, normal_domain
from postane.core.errors import AddressError

Ip = IPv4Address | IPv6Address
Kind = Literal["ipv4", "ipv6", "domain"]

# Addresses that are nobody's in the internet: no list knows of them, and what goes on inside is nobody's business.
_INSIDE = [
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
]


@dataclass(frozen=True, slots=True)
class Points:
    """What a list must have and must not have (sections 2.2, 2.3 and 5), in the form in which it is asked."""

    listed: str
    unlisted: str


def client(text: str) -> Ip:
    """The peer's address: an IPv4 one behind `::ffff:` is itself. Raises ValueError."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or type(address)(int(address))


def is_inside(address: Ip) -> bool:
    """True for reserved, private and loopback addresses."""
    return any(address in network for network in _INSIDE)


def kind_of(address: Ip) -> Kind:
    return "ipv4" if address.version == 4 else "ipv6"


def kind(text: str) -> Kind:
    """What a text is, an address or else a domain."""
    try:
        return kind_of(ip_address(text))
    except ValueError:
        return "domain"


def reverse(address: Ip) -> str:
    """Octets of IPv4 from the last to the first (section 2.1), nibbles of IPv6 (section 2.4)."""
    if isinstance(address, IPv4Address):
        return ".".join(reversed(str(address).split(".")))
    # From the octets: Python 3.13 writes an address behind ::ffff: with dots.
    return ".".join(reversed(address.packed.hex()))


def domain(text: str) -> str:
    """A domain as it is asked for (section 3): A-labels, at least two; "" for all else, address literals among it."""
    try:
        name = normal_domain(text.removesuffix("."))
    except AddressError:
        return ""
    if "." not in name or name.startswith("[") or name.rpartition(".")[2].isdigit():
        return ""
    return name if len(name) <= MAX_DOMAIN else ""


def points(of: Kind, listed: str = "", unlisted: str = "") -> Points:
    """Those of the standard, unless others are given. Raises ValueError for what is no address."""
    match of:
        case "ipv4":
            return Points(reverse(IPv4Address(listed or "127.0.0.2")), reverse(IPv4Address(unlisted or "127.0.0.1")))
        case "ipv6":
            mapped = "::ffff:7f00:"
            return Points(reverse(IPv6Address(listed or f"{mapped}2")), reverse(IPv6Address(unlisted or f"{mapped}1")))
    return Points(listed or "test", unlisted or "invalid")


def control(of: Kind, draw: Callable[[int], int]) -> str:
    """Something that no list has, and no cache either: it was never asked before. `draw(n)` gives 0 to n - 1.

    It lies within 127.0.0.0/8 or below `invalid`, as what must not be listed by the standard does.
    """
    number = (1 + draw(254)) << 16 | draw(256) << 8 | draw(256)
    if of == "domain":
        return f"{number:06x}{draw(1 << 32):08x}.invalid"
    address = IPv4Address((127 << 24) + number)
    return reverse(address if of == "ipv4" else IPv6Address((0xFFFF << 32) + int(address)))
