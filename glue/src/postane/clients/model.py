"""The one model behind all that mail programs are told: which services a domain's people have, and where. Pure.

Only what is encrypted is told; of two ways the one with TLS from the first octet stands first (RFC 8314 section 3).
People log in with their whole address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from postane.config.model import Config
from postane.core.address import shown_domain

MtaStsMode = Literal["none", "testing", "enforce"]

NO_URL = "-"  # in the configuration: there is none, nor a default


class Security(StrEnum):
    TLS = "tls"  # from the first octet
    STARTTLS = "starttls"


@dataclass(frozen=True, slots=True)
class Service:
    """`name` is the one of the SRV record and of the configuration (imaps); `protocol` imap, pop3, smtp or sieve."""

    name: str
    protocol: str
    host: str
    port: int
    security: Security
    priority: int = 0
    weight: int = 1


# Ports: RFC 8314 section 7.3, RFC 6409, RFC 5804. Priorities: TLS before STARTTLS, IMAP before POP3 (RFC 6186
# section 3.3 compares them across services).
_KNOWN = {
    "submissions": ("smtp", 465, Security.TLS, 0),
    "submission": ("smtp", 587, Security.STARTTLS, 10),
    "imaps": ("imap", 993, Security.TLS, 0),
    "pop3s": ("pop3", 995, Security.TLS, 10),
    "sieve": ("sieve", 4190, Security.STARTTLS, 0),
}
SERVICES = tuple(_KNOWN)


@dataclass(frozen=True, slots=True)
class MtaSts:
    """A policy for those who send to the domain (RFC 8461 section 3.2); `max_age` in seconds."""

    mode: MtaStsMode
    mx: tuple[str, ...]
    max_age: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What the mail programs of one domain's people are told. Names are A-labels; `shown` is for people.

    `missing` are the services that are not there, by name. URLs are "" where there is none; `url` is where programs
    reach us under a name that the host's own certificate has. `mta_sts` is None where no policy is served.
    """

    domain: str
    shown: str
    host: str
    provider: str
    short_name: str
    services: tuple[Service, ...]
    missing: tuple[str, ...]
    webmail: str
    help: str
    url: str
    mta_sts: MtaSts | None

    def best(self, protocol: str) -> Service | None:
        """The service of a protocol for programs that take one only."""
        found = [service for service in self.services if service.protocol == protocol]
        return min(found, key=lambda service: service.priority, default=None)

    @property
    def reading(self) -> Service | None:
        """Where mail is read: IMAP if it is there, else POP3."""
        return self.best("imap") or self.best("pop3")

    @property
    def url_host(self) -> tuple[str, int]:
        """Name and port of `url`."""
        parts = urlsplit(self.url)
        return parts.hostname or self.host, parts.port or 443


def make_setup(domain: str, config: Config, *, mode: MtaStsMode | Literal["off"] | None = None) -> Setup:
    """The model for a hosted domain (A-labels). `mode` is the domain's own for MTA-STS, if any; off: none."""
    settings, host = config.clients, config.host
    beside = host_domain(host)
    chosen = mode or settings.mta_sts
    return Setup(
        domain=domain,
        shown=shown_domain(domain),
        host=host,
        provider=settings.provider or shown_domain(beside),
        short_name=settings.short_name or settings.provider or shown_domain(beside),
        services=tuple(_services(host, settings.services)),
        missing=tuple(name for name in SERVICES if name not in settings.services),
        webmail=_url(settings.webmail, f"https://webmail.{beside}/"),
        help=_url(settings.help, ""),
        url=(settings.url or f"https://panel.{beside}").rstrip("/"),
        mta_sts=None if chosen == "off" else MtaSts(chosen, (host,), settings.mta_sts_max_age),
    )


def host_domain(host: str) -> str:
    """The domain that a host lies in, and its web services beside it."""
    _, _, parent = host.partition(".")
    return parent if "." in parent else host


def _services(host: str, names: Iterable[str]) -> Iterable[Service]:
    for name in SERVICES:
        if name in names:
            protocol, port, security, priority = _KNOWN[name]
            yield Service(name, protocol, host, port, security, priority)


def _url(said: str, default: str) -> str:
    return "" if said == NO_URL else said or default
