"""Decides whether a client's address has a name that leads back to it: iprev (RFC 8601 section 3), known as FCrDNS.

Sans I/O, of the same shape as spf.py. Ten names are tried at most (section 3 asks for a limit).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from postane.core.question import Answer, Evaluation, Kind, Question

MAX_NAMES = 10


class Result(StrEnum):
    """Section 2.7.3. `permerror`: the address has no name at all."""

    PASS = "pass"  # noqa: S105  (a word of the standard)
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Reverse:
    """`name` is the one that was confirmed, else the first that was claimed, else "". `reason` is a sentence."""

    result: Result
    name: str = ""
    reason: str = ""


def iprev(ip: IPv4Address | IPv6Address) -> Evaluation[Reverse]:
    """A name that leads back passes, whatever failed before it; what could not be asked is never a `fail`."""
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    # ::ffff:192.0.2.1 is an IPv4 client. A zone index (fe80::1%eth0) is this host's affair.
    address = mapped or type(ip)(int(ip))
    answer = yield Question(address.reverse_pointer, "PTR")
    if answer.failed:
        return Reverse(Result.TEMPERROR, reason=answer.failed)
    names = [name for name in answer.records if name][:MAX_NAMES]
    if not names:
        return Reverse(Result.PERMERROR, reason=f"{address} has no name")
    failed = ""
    kind: Kind = "A" if address.version == 4 else "AAAA"
    for name in names:
        forward: Answer = yield Question(name, kind)
        if forward.failed:
            failed = failed or forward.failed
        elif any(ip_address(record) == address for record in forward.records):
            return Reverse(Result.PASS, name)
    if failed:
        return Reverse(Result.TEMPERROR, names[0], failed)
    return Reverse(Result.FAIL, names[0], f"{names[0]} does not lead back to {address}")
