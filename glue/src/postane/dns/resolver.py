"""Questions to the DNS: the one doorway to dnspython's resolver.

Answers are typed and cached by their TTL, within bounds. What the DNS says for certain ("no such name", "no such
record") is a value; what it cannot say now (SERVFAIL, no answer in time) is a TemporaryError, and holds for a moment:
all who ask the same at the same time, or for one message, wait for one answer (dns.memory).
Names that go in are absolute: no search list of the host is ever applied.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from postane.config.model import Dns
from postane.core.errors import ConfigError, NotFoundError, TemporaryError
from postane.core.question import NO_SUCH_NAME, Answer, Question
from postane.dns.memory import Memory

_MAX_ALIASES = 8
_LEAST = 5.0  # seconds that an answer holds, whatever its TTL: one message asks once
_MOST = 3600.0  # and at most; RFC 8767 section 4 speaks of days, but mail wants to see what was put right
_MOST_NOTHING = 900.0  # the same for "there is none" (RFC 2308 section 5)

Labels = tuple[bytes, ...]  # of a name, in small letters, the root's last: quicker to look up than a dns.name.Name

_NO_TTL = 2**30  # what dnspython makes of "there is none" without SOA lies beyond: nobody said how long it holds


class NoSuchNameError(NotFoundError):
    """The name does not exist (NXDOMAIN), nor does anything below it."""


@dataclass(frozen=True, slots=True)
class MailHost:
    """One MX record. `name` has no trailing dot; "" is the null MX (RFC 7505)."""

    preference: int
    name: str


@dataclass(frozen=True, slots=True)
class _Said:
    """An answer as it is kept: records, or the name that an alias leads to, or why there is no such name."""

    records: tuple[Any, ...] = ()
    leads_to: Labels | None = None
    no_such_name: str = ""


class Resolver:
    """Asks the nameservers of the configuration, or of /etc/resolv.conf."""

    def __init__(self, settings: Dns) -> None:
        """Raises ConfigError for a nameserver that is no address."""
        self._resolver = dns.asyncresolver.Resolver(configure=not settings.nameservers)
        if settings.nameservers:
            self._resolver.nameservers = [_server(text) for text in settings.nameservers]
        self._resolver.lifetime = settings.timeout
        # A server that is silent must leave time for the next one.
        self._resolver.timeout = max(settings.timeout / (len(self._resolver.nameservers) + 1), 0.5)
        self._memory: Memory[tuple[Labels, str], _Said] = Memory()

    async def mail_hosts(self, domain: str) -> tuple[MailHost, ...]:
        """The MX records, best first; empty: the domain exists but has none (then its address serves).

        Raises NoSuchNameError, TemporaryError.
        """
        answer = await self._ask(domain, "MX")
        hosts = [MailHost(rr.preference, _plain(rr.exchange)) for rr in answer]
        return tuple(sorted(hosts, key=lambda host: (host.preference, host.name)))

    async def name_servers(self, zone: str) -> tuple[str, ...]:
        """The NS records of a name, "" is the root; empty: no zone begins there.

        Raises NoSuchNameError, TemporaryError.
        """
        return tuple(_plain(rr.target) for rr in await self._ask(zone or ".", "NS"))

    async def addresses(self, host: str, *, ipv6: bool = True) -> tuple[str, ...]:
        """IPv6 addresses, then IPv4; empty: the name has none, or does not exist. Raises TemporaryError.

        One family that cannot be asked for does not hide the other.
        """
        found: list[str] = []
        failure: TemporaryError | None = None
        for kind in ("AAAA", "A") if ipv6 else ("A",):
            try:
                found += [rr.address for rr in await self._ask(host, kind)]
            except NoSuchNameError:
                break
            except TemporaryError as error:
                failure = error
        if failure is not None and not found:
            raise failure
        return tuple(found)

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT records, each with its strings joined. Raises NoSuchNameError, TemporaryError."""
        return tuple(_text(rr) for rr in await self._ask(name, "TXT"))

    async def alias(self, name: str) -> str:
        """What the CNAME of a name leads to, one step; "": it is no alias. Raises TemporaryError."""
        try:
            answer = await self._ask(name, "CNAME")
        except NoSuchNameError:
            return ""
        return _plain(answer[0].target) if answer else ""

    async def names(self, address: str) -> tuple[str, ...]:
        """The PTR records of an address; empty if there are none. Raises TemporaryError."""
        try:
            answer = await self._ask(ip_address(address).reverse_pointer, "PTR")
        except NoSuchNameError:
            return ()
        return tuple(_plain(rr.target) for rr in answer)

    async def ask(self, question: Question) -> Answer:
        """The answer to a question of an evaluation. Raises nothing: see Answer.failed."""
        # Octets as they are: what a macro made of a stranger's words is no presentation format with escapes.
        name = (*question.name.lower().encode().split(b"."), b"")
        if question.fresh:
            self._memory.forget((name, ""), (name, question.kind))
        try:
            found = await self._find(name, question.kind)
        except NoSuchNameError:
            return NO_SUCH_NAME
        except TemporaryError as error:
            return Answer(failed=str(error))
        match question.kind:
            case "MX":
                hosts = sorted((rr.preference, _plain(rr.exchange)) for rr in found)
                return Answer(tuple(host for _, host in hosts))
            case "PTR":
                return Answer(tuple(_plain(rr.target) for rr in found))
            case "TXT":
                return Answer(tuple(_text(rr) for rr in found))
        return Answer(tuple(rr.address for rr in found))

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        try:
            question = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NoSuchNameError(f"{name!r} is no domain name: {error}") from error
        return await self._find(_labels(question), kind)

    async def _find(self, name: Labels, kind: str) -> Sequence[Any]:
        """Follows an alias whose target the server left out, as one does that is no resolver (RFC 1034 section 3.6.2).

        Raises NoSuchNameError, TemporaryError.
        """
        for _ in range(_MAX_ALIASES):
            said = self._memory.known((name, "")) or await self._memory.get((name, kind), self._asking(name, kind))
            if said.no_such_name:
                raise NoSuchNameError(said.no_such_name)
            if said.leads_to is None:
                return said.records
            name = said.leads_to
        raise TemporaryError(f"DNS: {_shown(name)} {kind}: more than {_MAX_ALIASES} aliases one after the other")

    def _asking(self, name: Labels, kind: str) -> Callable[[], Awaitable[tuple[_Said, float]]]:
        return lambda: self._resolve(name, kind)

    async def _resolve(self, labels: Labels, kind: str) -> tuple[_Said, float]:
        """The answer and the seconds that it holds. Raises TemporaryError."""
        asked = _shown(labels)
        try:
            name = dns.name.Name(labels)
        except dns.exception.DNSException as error:
            return _Said(no_such_name=f"{asked!r} is no domain name: {error}"), _LEAST
        try:
            answer = await self._resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            said = _Said(no_such_name=f"the domain {asked} does not exist")
            life = _life(_nothing_for(error.kwargs["responses"][name]), _MOST_NOTHING)
            self._memory.put((labels, ""), said, life)  # of whatever kind (RFC 8020)
            return said, life
        except dns.resolver.YXDOMAIN:
            return _Said(no_such_name=f"{asked}: its DNAME leads to a name that is too long"), _LEAST
        except dns.exception.Timeout as error:
            within = f"{self._resolver.lifetime:g} s"
            raise TemporaryError(f"DNS: no answer about {asked} {kind} within {within}") from error
        except dns.resolver.NoNameservers as error:
            raise TemporaryError(f"DNS: no answer about {asked} {kind}: {_what_failed(error)}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise TemporaryError(f"DNS: {asked} {kind}: {_first_line(error)}") from error
        ttl = answer.chaining_result.minimum_ttl
        if answer.rrset is not None:
            return _Said(tuple(answer.rrset)), _life(ttl, _MOST)
        leads_to = None if answer.canonical_name == name else _labels(answer.canonical_name)
        return _Said(leads_to=leads_to), _life(ttl, _MOST_NOTHING)


def _labels(name: dns.name.Name) -> Labels:
    return tuple(label.lower() for label in name.labels)


def _shown(labels: Labels) -> str:
    return b".".join(labels[:-1]).decode("utf-8", "backslashreplace")


def _nothing_for(response: dns.message.Message) -> int:
    """The TTL of "there is no such name" (RFC 2308 section 5)."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return int(min(rrset.ttl, rrset[0].minimum))
    return _NO_TTL


def _life(ttl: int, most: float) -> float:
    return min(max(float(ttl), _LEAST), most) if ttl < _NO_TTL else _LEAST


def _server(text: str) -> dns.nameserver.Nameserver:
    """`address`, `address:port` or `[IPv6]:port`."""
    host, port = text, 53
    try:
        ip_address(host)
    except ValueError:
        host, _, number = text.rpartition(":")
        host = host.strip("[]")
        try:
            ip_address(host)
            port = int(number)
        except ValueError as error:
            raise ConfigError(f"dns.nameservers: {text!r} is not an address with an optional port") from error
    return dns.nameserver.Do53Nameserver(host, port)


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _text(rr: Any) -> str:
    return b"".join(rr.strings).decode("utf-8", "replace")


def _what_failed(error: dns.resolver.NoNameservers) -> str:
    """What each server answered, in its own word: "SERVFAIL", "REFUSED", "Connection refused"."""
    said = [failure[3] for failure in error.kwargs.get("errors", ())]
    return ", ".join(dict.fromkeys(str(one) or type(one).__name__ for one in said)) or "no server can be asked"


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
