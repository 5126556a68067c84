"""SPF records: which of a domain's texts they are, and what they say (RFC 7208 sections 4.5, 4.6, 5, 6 and 12).

Pure. A record is read as a whole before any of it is evaluated, so that an error anywhere in it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from postane.filters.auth.spf_macro import MacroString, SyntaxProblem, parse_domain, parse_string


class Result(StrEnum):
    """Section 2.6."""

    PASS = "pass"  # noqa: S105  (a word of the standard)
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIERS = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}

# The standard asks for records under 450 octets (section 3.4); what is far beyond means harm.
_MAX_RECORD = 16_384  # characters
_MAX_REMEMBERED = 2048

_VERSION = "v=spf1"
_NAME = r"[a-z][a-z0-9_.-]*"
_MODIFIER = re.compile(rf"({_NAME})=(.*)", re.IGNORECASE | re.ASCII)
_DIRECTIVE = re.compile(rf"([-+~?]?)({_NAME})(|[:/].*)", re.IGNORECASE | re.ASCII)
_NUMBER = r"(?:0|[1-9]\d{0,2})"
_DUAL_CIDR = re.compile(rf"(.*?)(?:/({_NUMBER}))?(?://({_NUMBER}))?", re.ASCII)
_CIDR = re.compile(rf"(.*?)(?:/({_NUMBER}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`text` as it was written. `target` is the domain-spec; None means the domain that is being checked.

    `network` is there for ip4 and ip6; `prefix4` and `prefix6` hold for a and mx.
    """

    text: str
    name: str
    result: Result
    target: MacroString | None = None
    network: IPv4Network | IPv6Network | None = None
    prefix4: int = 32
    prefix6: int = 128


@dataclass(frozen=True, slots=True)
class Modifier:
    text: str
    target: MacroString


@dataclass(frozen=True, slots=True)
class Record:
    """`mechanisms` in the order of their evaluation."""

    mechanisms: tuple[Mechanism, ...]
    redirect: Modifier | None = None
    explanation: Modifier | None = None


def select(texts: Iterable[str]) -> list[str]:
    """The SPF records among a domain's texts (section 4.5)."""
    return [text for text in texts if text.lower().startswith(f"{_VERSION} ") or text.lower() == _VERSION]


def parse(text: str) -> Record:
    """A record that `select` gave. Raises SyntaxProblem."""
    if len(text) > _MAX_RECORD:
        raise SyntaxProblem(f"it has over {_MAX_RECORD} characters")
    return _remembered(text) if len(text) < _MAX_REMEMBERED else _parse(text)


def _parse(text: str) -> Record:
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, Modifier] = {}
    for term in text[len(_VERSION) :].split(" "):
        if not term:
            continue
        if found := _MODIFIER.fullmatch(term):
            name = found[1].lower()
            if name not in ("redirect", "exp"):
                parse_string(found[2])  # section 6: unknown modifiers are ignored, but have to be well formed
                continue
            if name in modifiers:
                raise SyntaxProblem(f"{name}= stands twice")
            modifiers[name] = Modifier(term, parse_domain(found[2]))
        else:
            mechanisms.append(_mechanism(term))
    return Record(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


# Half the world includes the records of the same few providers.
_remembered = lru_cache(1024)(_parse)


def _mechanism(term: str) -> Mechanism:
    found = _DIRECTIVE.fullmatch(term)
    if not found:
        raise SyntaxProblem(f"{term[:80]!r} is no term")
    result, name, rest = _QUALIFIERS[found[1] or "+"], found[2].lower(), found[3]
    match name:
        case "all":
            if rest:
                raise SyntaxProblem(f"{term[:80]!r}: nothing follows all")
            return Mechanism(term, name, result)
        case "include" | "exists":
            return Mechanism(term, name, result, parse_domain(_after_colon(term, rest)))
        case "ptr":
            return Mechanism(term, name, result, parse_domain(_after_colon(term, rest)) if rest else None)
        case "a" | "mx":
            parts = _DUAL_CIDR.fullmatch(rest)
            assert parts
            domain, prefix4, prefix6 = parts.groups()
            return Mechanism(
                term,
                name,
                result,
                parse_domain(_after_colon(term, domain)) if domain else None,
                prefix4=_prefix(term, prefix4, 32),
                prefix6=_prefix(term, prefix6, 128),
            )
        case "ip4" | "ip6":
            return Mechanism(term, name, result, network=_network(term, name, _after_colon(term, rest)))
    raise SyntaxProblem(f"{term[:80]!r}: there is no such mechanism")


def _after_colon(term: str, rest: str) -> str:
    if not rest.startswith(":"):
        raise SyntaxProblem(f"{term[:80]!r} lacks what belongs after a colon")
    return rest[1:]


def _prefix(term: str, text: str | None, most: int) -> int:
    if text is None:
        return most
    if int(text) > most:
        raise SyntaxProblem(f"{term[:80]!r}: a prefix has at most {most} bits")
    return int(text)


def _network(term: str, name: str, text: str) -> IPv4Network | IPv6Network:
    kind, most = (IPv4Network, 32) if name == "ip4" else (IPv6Network, 128)
    parts = _CIDR.fullmatch(text)
    assert parts
    prefix = _prefix(term, parts[2], most)
    try:
        address = ip_address(parts[1])
        if "%" in parts[1] or address.max_prefixlen != most:  # Python reads a zone index (RFC 4007) too
            raise ValueError
    except ValueError as error:
        raise SyntaxProblem(f"{term[:80]!r} names no {name} network") from error
    return kind((int(address), prefix), strict=False)
