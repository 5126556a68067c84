"""The daemon's own evaluators of authentication, run for one case from the desk: `postane check`."""

from __future__ import annotations

from pathlib import Path

from postane.config.load import load
from postane.config.model import Dns
from postane.core.errors import ConfigError, UsageError
from postane.dns.resolver import Resolver

QUESTION_SECONDS = 8.0  # for one question
CHECK_SECONDS = 16.0  # for all questions of a check: with the start of the process well below 20


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
