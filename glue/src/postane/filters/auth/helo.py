"""Looks at the name that a client gives in HELO or EHLO: is it a name at all, is it ours, does it lead to the client?

Sans I/O, of the same shape as spf.py. It states facts; what follows from them is policy. RFC 5321 section 4.1.4
forbids refusing mail only because a name does not lead to the client's address; a name that breaks the syntax of
section 4.1.1.1, or is this host's own, is another matter.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from postane.core.address import MAX_DOMAIN, normal_domain
from postane.core.errors import AddressError
from postane.core.question import Evaluation, Kind, Question

# The underscore is none of the standard's, but of many a Windows host's.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)


class Fact(StrEnum):
    """In falling order of trust."""

    CONFIRMED = "confirmed"  # a name with the client's address, or the client's address itself as a literal
    UNKNOWN = "unknown"  # it could not be asked now
    ELSEWHERE = "elsewhere"  # a name whose addresses are others, or that takes mail but has none
    NO_SUCH_NAME = "no_such_name"  # a name without address and without MX
    UNQUALIFIED = "unqualified"  # a single label, or an address without brackets
    FALSE_LITERAL = "false_literal"  # an address literal of somebody else
    MALFORMED = "malformed"  # neither a domain nor an address literal
    OURS = "ours"  # this host's own name or address


@dataclass(frozen=True, slots=True)
class Helo:
    """`name` in normal form, as far as there is one; `reason` is a sentence, "" for `confirmed`."""

    fact: Fact
    name: str
    reason: str = ""


def look_at(
    said: str, ip: IPv4Address | IPv6Address, own_names: Collection[str], own_addresses: Collection[str] = ()
) -> Evaluation[Helo]:
    """`said` is what followed HELO or EHLO; `own_names` and `own_addresses` are this host's, in normal form.

    Whoever comes from one of `own_addresses` may of course use them.
    """
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    client = mapped or type(ip)(int(ip))
    from_here = str(client) in own_addresses or client.is_loopback
    literal = _literal(said)
    if literal is not None:
        if literal == client:
            return Helo(Fact.CONFIRMED, f"[{literal}]")
        ours = str(literal) in own_addresses
        fact = Fact.OURS if ours else Fact.FALSE_LITERAL
        return Helo(fact, f"[{literal}]", f"{said} is {'our own' if ours else 'not the client’s'} address")
    name = _name(said)
    if not name:
        return Helo(Fact.MALFORMED, said, f"{said!r} is neither a domain nor an address literal")
    if name in own_names and not from_here:
        return Helo(Fact.OURS, name, f"{name} is our own name")
    if "." not in name or _is_address(name):
        return Helo(Fact.UNQUALIFIED, name, f"{name} is not a fully qualified name")
    return (yield from _led(name, client))


def _led(name: str, client: IPv4Address | IPv6Address) -> Evaluation[Helo]:
    same: Kind = "A" if client.version == 4 else "AAAA"
    other: Kind = "AAAA" if client.version == 4 else "A"
    first = yield Question(name, same)
    if first.failed:
        return Helo(Fact.UNKNOWN, name, first.failed)
    if any(ip_address(record) == client for record in first.records):
        return Helo(Fact.CONFIRMED, name)
    if first.records:
        return Helo(Fact.ELSEWHERE, name, f"{name} is not at {client}")
    if first.exists:
        for kind in (other, "MX"):
            answer = yield Question(name, kind)
            if answer.failed:
                return Helo(Fact.UNKNOWN, name, answer.failed)
            if any(answer.records):  # a null MX (RFC 7505) is as good as none
                return Helo(Fact.ELSEWHERE, name, f"{name} is not at {client}")
    return Helo(Fact.NO_SUCH_NAME, name, f"{name} has neither an address nor an MX")


def _literal(said: str) -> IPv4Address | IPv6Address | None:
    """Section 4.1.3; None for what is no address literal."""
    if not (said.startswith("[") and said.endswith("]")):
        return None
    inner = said[1:-1]
    tagged = inner.lower().startswith("ipv6:")
    text = inner[5:] if tagged else inner
    if not _is_address(text) or "%" in text:
        return None
    address = ip_address(text)
    # "[2001:db8::1]" lacks its tag; many a client forgets it, and there is no doubt what it means.
    return None if tagged and address.version == 4 else address


def _name(said: str) -> str:
    """The normal form of a domain; "" for what is none."""
    name = said.removesuffix(".")
    if name.isascii():
        labels = name.split(".")
        return name.lower() if len(name) <= MAX_DOMAIN and all(map(_LABEL.fullmatch, labels)) else ""
    try:
        return normal_domain(name)
    except AddressError:
        return ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
