"""The daemon's own evaluators of authentication, run for one case from the desk: `postane check`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from postane.config.load import load
from postane.config.model import Dns
from postane.core.errors import ConfigError, UsageError
from postane.core.question import Ask
from postane.dns.resolver import Resolver
from postane.filters.auth import arc as arc_chain
from postane.filters.auth import dialogue
from postane.filters.auth import dkim as dkim_signatures
from postane.filters.auth.authenticate import authenticate
from postane.filters.auth.dmarc_walk import Suffixes
from postane.filters.auth.message import read
from postane.filters.auth.public_suffix import by_list
from postane.filters.auth.questions import within
from postane.filters.auth.spf import Client, check_host

QUESTION_SECONDS = 6.0  # for one question
CHECK_SECONDS = 14.0  # for all questions of a check: with the start of the process, on a busy host too, below 20


@dataclass(frozen=True, slots=True)
class SpfView:
    """The answer of `check spf`. `mechanism` and `explanation` as postane.filters.auth.spf.Checked has them."""

    result: str
    mechanism: str
    explanation: str
    lookups: int
    void_lookups: int


def resolver(nameserver: str, config: Path) -> Resolver:
    """Asks `nameserver` ("address:port") and no other; "" means those of the configuration, else of this host.

    Raises UsageError for a name server that is no address, ConfigError for a bad configuration.
    """
    if nameserver:
        host, colon, port = nameserver.partition(":")
        address = f"127.0.0.1{colon}{port}" if host == "localhost" else nameserver
        try:
            return Resolver(Dns(nameservers=(address,), timeout=QUESTION_SECONDS))
        except ConfigError as error:
            raise UsageError(f"--nameserver: {nameserver!r} is not an address with an optional port") from error
    settings = load(config).dns if config.exists() else Dns()
    return Resolver(Dns(nameservers=settings.nameservers, timeout=min(settings.timeout, QUESTION_SECONDS)))


def suffixes(config: Path) -> Suffixes:
    """The public suffix list that this host goes by. Raises ConfigError."""
    return by_list(load(config).state if config.exists() else None)


def client(ip: str, helo: str, mail_from: str) -> Client:
    """Who sends, as the command line says it. Raises UsageError."""
    try:
        address = ip_address(ip)
    except ValueError as error:
        raise UsageError(f"--ip: {ip!r} is not an IP address") from error
    return Client(address, helo, mail_from.removeprefix("<").removesuffix(">"), now=time.time())


async def spf(ip: str, helo: str, mail_from: str, ask: Ask) -> tuple[SpfView, str]:
    """SPF for one client; and a sentence about what went wrong, "" if nothing. Raises UsageError for no address."""
    found = await dialogue.run(check_host(client(ip, helo, mail_from)), ask, CHECK_SECONDS)
    view = SpfView(found.result, found.mechanism, found.explanation, found.lookups, found.void_lookups)
    return view, found.problem


@dataclass(frozen=True, slots=True)
class SignatureView:
    """One DKIM signature; `result` in the words of RFC 8601 section 2.7.1."""

    domain: str
    selector: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class DkimView:
    """The answer of `check dkim`: the signatures that were tried, from the top."""

    signatures: tuple[SignatureView, ...]

    @property
    def result(self) -> str:
        """One good signature is enough."""
        results = [one.result for one in self.signatures]
        return "none" if not results else "pass" if "pass" in results else "fail"


@dataclass(frozen=True, slots=True)
class ArcView:
    """The answer of `check arc`."""

    cv: str
    instances: int
    reason: str


@dataclass(frozen=True, slots=True)
class DmarcView:
    """The answer of `check dmarc`. `policy` is what the record asks for this domain, `disposition` for this message."""

    result: str
    domain: str
    organizational_domain: str
    policy: str
    disposition: str
    spf_aligned: bool
    dkim_aligned: bool


async def dkim(message: Iterable[bytes], ask: Ask) -> DkimView:
    """`message` in pieces, with LF or CRLF."""
    found = await dkim_signatures.verify(read(message), within(ask, CHECK_SECONDS), time.time)
    return DkimView(tuple(SignatureView(one.domain, one.selector, one.result, one.reason) for one in found))


async def arc(message: Iterable[bytes], ask: Ask) -> ArcView:
    """`message` in pieces, with LF or CRLF."""
    chain = await arc_chain.verify(read(message), within(ask, CHECK_SECONDS), time.time)
    return ArcView(chain.cv, chain.instances, chain.reason)


async def dmarc(
    message: Iterable[bytes], ip: str, helo: str, mail_from: str, ask: Ask, suffixes: Suffixes | None = None
) -> tuple[DmarcView, str]:
    """DMARC for one message of one client; and a sentence about why it did not pass. Raises UsageError."""
    found = (await authenticate(read(message), client(ip, helo, mail_from), ask, CHECK_SECONDS, suffixes)).dmarc
    view = DmarcView(
        found.result,
        found.domain,
        found.organizational_domain,
        found.policy,
        found.disposition,
        found.spf_aligned,
        found.dkim_aligned,
    )
    return view, found.reason
