"""What the world answered about a domain, at one moment. Pure values: what is wrong is one too, never an exception."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from postane.dns.records import Record, canonical


class Finding(StrEnum):
    """What can be wrong with a domain in the DNS, whoever's records they are."""

    SUFFIX = "suffix"  # a public suffix: nobody's to have mail at
    UNREGISTERED = "unregistered"  # the parent knows no such name
    UNASKED = "unasked"  # nobody who should know answered
    LAME = "lame"  # a server that was named by the parent does not serve the zone
    APEX_ALIAS = "apex-alias"  # a CNAME where MX and TXT should stand
    WILDCARD_MX = "wildcard-mx"  # names that nobody made take mail
    RESOLVERS = "resolvers"  # a resolver still sees something else
    ELSEWHERE = "elsewhere"  # the world asks other servers than those that we write to
    DNSSEC = "dnssec"  # what the parent vouches for is not what the domain is signed with


@dataclass(frozen=True, slots=True)
class Trouble:
    """`text` is a sentence for the operator, `ways_out` what can be done.

    `subject` is the server that it is about and `why` what is wrong; `silent`: it only did not answer.
    """

    finding: Finding
    text: str
    ways_out: tuple[str, ...] = ()
    subject: str = ""
    why: str = ""
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that nobody answered in time, and why."""

    name: str
    type: str
    why: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`zone` is the closest zone around the domain, "" if none was found; `servers` are those its parent names.

    `records` are what authoritative servers answered (or what the target has, where it can be read). `asked` counts
    questions to servers.
    """

    domain: str
    zone: str = ""
    servers: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    trouble: tuple[Trouble, ...] = ()
    asked: int = 0

    def at(self, name: str, kind: str = "") -> list[Record]:
        """The records of a name, of one type where it is said."""
        return [one for one in self.records if one.name == name and (not kind or one.type == kind)]

    def digest(self, names: Iterable[str]) -> str:
        """The same as long as the records of these names are; TTLs and the order of answers do not count."""
        chosen = set(names)
        lines = sorted({"\t".join(canonical(one)) for one in self.records if one.name in chosen})
        lines += sorted(f"?\t{one.name}\t{one.type}" for one in self.unanswered if one.name in chosen)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:32]
