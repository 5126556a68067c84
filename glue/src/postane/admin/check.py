"""The daemon's own evaluators of authentication, run for one case from the desk: `postane check`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from postane.config.load import load
from postane.config.model import Dns
from postane.core.errors import ConfigError, UsageError
from postane.core.question import Ask
from postane.dns.resolver import Resolver
from postane.filters.auth import dialogue
from postane.filters.auth.spf import Client, check_host

QUESTION_SECONDS = 8.0  # for one question
CHECK_SECONDS = 16.0  # for all questions of a check: with the start of the process well below 20


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


async def spf(ip: str, helo: str, mail_from: str, ask: Ask) -> tuple[SpfView, str]:
    """SPF for one client; and a sentence about what went wrong, "" if nothing. Raises UsageError for no address."""
    try:
        address = ip_address(ip)
    except ValueError as error:
        raise UsageError(f"--ip: {ip!r} is not an IP address") from error
    client = Client(address, helo, mail_from.removeprefix("<").removesuffix(">"), now=time.time())
    found = await dialogue.run(check_host(client), ask, CHECK_SECONDS)
    view = SpfView(found.result, found.mechanism, found.explanation, found.lookups, found.void_lookups)
    return view, found.problem
