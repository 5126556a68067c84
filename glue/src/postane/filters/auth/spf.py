"""Decides whether a client may send for a domain: check_host() of SPF (RFC 7208), all of it.

Sans I/O: `check_host` is a generator that yields questions to the DNS and is sent the answers. It never raises; what
is wrong with a record or cannot be asked now is a result. Internationalized identities go by RFC 8616: domains as
A-labels, and a term whose target has other letters in it never matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from postane.core.address import MAX_DOMAIN, normal_domain
from postane.core.errors import AddressError
from postane.core.question import Answer, Evaluation, Kind, Question
from postane.filters.auth import spf_record
from postane.filters.auth.spf_macro import MacroString, SyntaxProblem, expand, parse_string, uses
from postane.filters.auth.spf_record import Mechanism, Modifier, Record, Result

Ip = IPv4Address | IPv6Address

MAX_LOOKUPS = 10  # terms that ask, section 4.6.4
MAX_VOID_LOOKUPS = 2
MAX_NAMES = 10  # of one MX or PTR answer
MAX_EXPLANATION = 400  # characters: it goes into a reply line, RFC 5321 section 4.5.3.1.5


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends, as whom. `mail_from` "" is the null sender: then postmaster at the HELO name is checked.

    `receiver` is this host's name, `now` seconds since the epoch; explanations may speak of both.
    """

    ip: Ip
    helo: str
    mail_from: str
    receiver: str = "unknown"
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Checked:
    """`domain` is what was checked. `mechanism` is the term that decided, "default" if none matched, or the term that
    went wrong. `explanation` is the publisher's text for the peer, only with fail. `problem` is a sentence for the
    operator, only with temperror and permerror. `lookups` counts terms that ask (one past the limit: it was broken).
    """

    result: Result
    domain: str
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""
    lookups: int = 0
    void_lookups: int = 0


def check_host(client: Client) -> Evaluation[Checked]:
    """Evaluates the MAIL FROM identity, or the HELO identity for the null sender (sections 2.3, 2.4 and 4)."""
    local, _, domain = client.mail_from.rpartition("@") if client.mail_from else ("", "", client.helo)
    local = local or "postmaster"  # section 4.3
    name = _domain(domain)
    if name is None:
        return Checked(Result.NONE, domain)
    run = _Run(client, local, name)
    try:
        found = yield from run.evaluate(name)
    except _StopError as stop:
        return Checked(stop.result, name, stop.term, "", stop.problem, run.lookups, run.void_lookups)
    if found is None:
        return Checked(Result.NONE, name)
    explanation = ""
    if found.result is Result.FAIL and found.explanation:
        explanation = yield from run.explain(found.explanation, found.domain)
    return Checked(found.result, name, found.term, explanation, "", run.lookups, run.void_lookups)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a record says; `explanation` and `domain` are the record's own (a redirect has gone to another one)."""

    result: Result
    term: str
    explanation: Modifier | None
    domain: str


class _StopError(Exception):
    """temperror or permerror: it ends the whole evaluation, wherever it happens. `term` is the outermost one."""

    def __init__(self, result: Result, problem: str) -> None:
        super().__init__(problem)
        self.result = result
        self.problem = problem
        self.term = ""


class _Run:
    """One evaluation with its counters, shared by all records that it reads."""

    def __init__(self, client: Client, local: str, domain: str) -> None:
        mapped = client.ip.ipv4_mapped if isinstance(client.ip, IPv6Address) else None
        # Section 5: ::ffff:192.0.2.1 is an IPv4 client. A zone index (fe80::1%eth0) is this host's affair.
        self.ip: Ip = mapped or type(client.ip)(int(client.ip))
        self.lookups = 0
        self.void_lookups = 0
        v6 = isinstance(self.ip, IPv6Address)
        self._kind: Kind = "AAAA" if v6 else "A"
        self._values = {
            "s": f"{local}@{domain}",
            "l": local,
            "o": domain,
            "i": ".".join(self.ip.packed.hex()).upper() if v6 else str(self.ip),
            "v": "ip6" if v6 else "in-addr",
            "h": _domain(client.helo) or client.helo,
            "c": str(self.ip),
            "r": client.receiver,
            "t": str(int(client.now)),
        }

    def evaluate(self, domain: str, *, term: bool = False) -> Evaluation[_Found | None]:
        """The record of `domain`; None: there is none. `term` says that a term asks for it. Raises _StopError."""
        record = yield from self._record(domain, term=term)
        if record is None:
            return None
        for mechanism in record.mechanisms:
            try:
                matches = yield from self._matches(mechanism, domain)
            except _StopError as stop:
                stop.term = mechanism.text
                raise
            if matches:
                return _Found(mechanism.result, mechanism.text, record.explanation, domain)
        if record.redirect is None:
            return _Found(Result.NEUTRAL, "default", record.explanation, domain)
        try:
            return (yield from self._redirected(record.redirect, domain))
        except _StopError as stop:
            stop.term = stop.term or record.redirect.text
            raise

    def explain(self, modifier: Modifier, domain: str) -> Evaluation[str]:
        """The publisher's explanation; "" where it is missing or wrong in any way (section 6.2)."""
        target = _target((yield from self._expand(modifier.target, domain)))
        if target is None:
            return ""
        answer = yield Question(target, "TXT")
        if answer.failed or len(answer.records) != 1:
            return ""
        try:
            text = yield from self._expand(parse_string(answer.records[0], explaining=True), domain)
        except SyntaxProblem:
            return ""
        # A HELO name or a local part can bring in what must not stand in a reply.
        return text[:MAX_EXPLANATION] if text.isascii() and text.isprintable() else ""

    def _record(self, domain: str, *, term: bool) -> Evaluation[Record | None]:
        """Sections 4.4 and 4.5."""
        answer = yield from self._ask(domain, "TXT", counts=term)
        texts = spf_record.select(answer.records)
        if len(texts) > 1:
            raise _StopError(Result.PERMERROR, f"{domain} has {len(texts)} SPF records")
        if not texts:
            return None
        try:
            return spf_record.parse(texts[0])
        except SyntaxProblem as problem:
            raise _StopError(Result.PERMERROR, f"the SPF record of {domain}: {problem}") from problem

    def _redirected(self, redirect: Modifier, domain: str) -> Evaluation[_Found]:
        """Section 6.1."""
        self._count_lookup()
        target = _target((yield from self._expand(redirect.target, domain)))
        found = (yield from self.evaluate(target, term=True)) if target else None
        if found is None:
            raise _StopError(Result.PERMERROR, f"{redirect.text} of {domain} leads to no SPF record")
        return found

    def _matches(self, mechanism: Mechanism, domain: str) -> Evaluation[bool]:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self.ip in mechanism.network
        self._count_lookup()
        target: str | None = domain
        if mechanism.target is not None:
            text = yield from self._expand(mechanism.target, domain)
            if not text.isascii():
                return False  # RFC 8616 section 4: a local part with other letters is no part of a name
            target = _target(text)
        if mechanism.name == "include":
            return (yield from self._include(mechanism, target))
        if target is None:
            return False
        match mechanism.name:
            case "a":
                return (yield from self._a(mechanism, target))
            case "mx":
                return (yield from self._mx(mechanism, target))
            case "exists":
                return (yield from self._exists(target))
        return (yield from self._ptr(target))

    def _include(self, mechanism: Mechanism, target: str | None) -> Evaluation[bool]:
        """Section 5.2: only its pass matches; a name without a record is the publisher's error."""
        found = (yield from self.evaluate(target, term=True)) if target else None
        if found is None:
            raise _StopError(Result.PERMERROR, f"{mechanism.text} leads to no SPF record")
        return found.result is Result.PASS

    def _a(self, mechanism: Mechanism, target: str) -> Evaluation[bool]:
        """Section 5.3."""
        answer = yield from self._ask(target, self._kind, counts=True)
        prefix = mechanism.prefix4 if self._kind == "A" else mechanism.prefix6
        shift = self.ip.max_prefixlen - prefix
        return any(int(ip_address(address)) >> shift == int(self.ip) >> shift for address in answer.records)

    def _mx(self, mechanism: Mechanism, target: str) -> Evaluation[bool]:
        """Sections 5.4 and 4.6.4. There is no implicit MX, and a null MX (RFC 7505) names no host."""
        answer = yield from self._ask(target, "MX", counts=True)
        if len(answer.records) > MAX_NAMES:
            raise _StopError(Result.PERMERROR, f"{target} has more than {MAX_NAMES} MX records")
        for host in answer.records:
            if host and (yield from self._a(mechanism, host)):
                return True
        return False

    def _exists(self, target: str) -> Evaluation[bool]:
        """Section 5.7: always A, whatever the client speaks."""
        answer = yield from self._ask(target, "A", counts=True)
        return bool(answer.records)

    def _ptr(self, target: str) -> Evaluation[bool]:
        """Section 5.5: what cannot be asked for does not match."""
        answer = yield Question(self.ip.reverse_pointer, "PTR")
        self._count_void(answer, self.ip.reverse_pointer)
        for name in answer.records[:MAX_NAMES]:
            if _is_within(name, target) and (yield from self._is_validated(name)):
                return True
        return False

    def _is_validated(self, name: str) -> Evaluation[bool]:
        """True if the name, which came from the client's own reverse zone, leads back to the client.

        A void answer is not counted: the publisher of the record has no hand in these names.
        """
        answer = yield Question(name, self._kind)
        return not answer.failed and any(ip_address(address) == self.ip for address in answer.records)

    def _validated_name(self, domain: str) -> Evaluation[str]:
        """The macro p (section 7.3): the domain itself before its subdomains before any other name."""
        answer = yield Question(self.ip.reverse_pointer, "PTR")
        names = [] if answer.failed else answer.records[:MAX_NAMES]
        for name in sorted(names, key=lambda one: (one.lower() != domain.lower(), not _is_within(one, domain))):
            if _target(name) and (yield from self._is_validated(name)):
                return name
        return "unknown"

    def _expand(self, parts: MacroString, domain: str) -> Evaluation[str]:
        values: Mapping[str, str] = self._values | {"d": domain}
        if uses(parts, "p"):
            values = {**values, "p": (yield from self._validated_name(domain))}
        return expand(parts, values)

    def _ask(self, name: str, kind: Kind, *, counts: bool) -> Evaluation[Answer]:
        answer = yield Question(name, kind)
        if answer.failed:
            raise _StopError(Result.TEMPERROR, answer.failed)
        if counts:
            self._count_void(answer, name)
        return answer

    def _count_lookup(self) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise _StopError(Result.PERMERROR, f"more than {MAX_LOOKUPS} terms need the DNS")

    def _count_void(self, answer: Answer, name: str) -> None:
        self.void_lookups += answer.void
        if self.void_lookups > MAX_VOID_LOOKUPS:
            raise _StopError(Result.PERMERROR, f"more than {MAX_VOID_LOOKUPS} empty answers, the last about {name}")


def _domain(text: str) -> str | None:
    """The domain of an identity as the DNS knows it; None for what is malformed or a single label (section 4.3)."""
    name = text.removesuffix(".")
    if not name.isascii():
        try:
            name = normal_domain(name)
        except AddressError:
            return None
    labels = name.split(".")
    if len(labels) < 2 or len(name) > MAX_DOMAIN:
        return None
    if all(0 < len(label) < 64 and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        return name
    return None


def _target(text: str) -> str | None:
    """The name to ask for, cut from the left to what the DNS takes (section 7.3); None for what it never has."""
    name = text.removesuffix(".")
    if not name.isascii():
        return None
    if len(name) > MAX_DOMAIN:
        _, _, name = name[-MAX_DOMAIN - 1 :].partition(".")
    return name if all(0 < len(label) < 64 for label in name.split(".")) else None


def _is_within(name: str, domain: str) -> bool:
    name, domain = name.lower(), domain.lower()
    return name == domain or name.endswith(f".{domain}")
