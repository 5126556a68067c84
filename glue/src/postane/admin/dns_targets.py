"""The targets of the configuration, made: where records of hosted domains are put."""

from __future__ import annotations

from pathlib import Path

from postane.admin.site import Site
from postane.config.model import DnsTarget
from postane.core.address import normal_domain
from postane.core.errors import ConfigError
from postane.dns.knot import Knot
from postane.dns.records import Record, wanted
from postane.dns.targets.base import Target
from postane.dns.targets.knot import KnotTarget
from postane.dns.targets.manual import Manual
from postane.dns.targets.octodns import OctoDns, load_provider
from postane.dns.targets.rfc2136 import Rfc2136, key_from


def default_name(site: Site) -> str:
    """The target of a domain that names none: `domains.target`, else what `dns.publish` says, else a person."""
    return site.config.domains.target or ("knot" if site.config.dns.publish == "knot" else "manual")


def target(site: Site, name: str) -> Target:
    """`knot` and `manual` are there without being configured. Raises ConfigError."""
    settings = site.config.dns.targets.get(name)
    kind = settings.type if settings else name
    limit = settings.text_limit if settings else 0
    if kind == "manual":
        return Manual(name, limit, settings.least_ttl if settings else 0)
    if kind == "knot":
        return KnotTarget(name, Knot(site.config.dns.knot_socket), lambda zone: _apex(site, zone), limit)
    if settings is None:
        raise ConfigError(f"dns.targets has no {name!r}", hint=f"it has {', '.join(site.config.dns.targets) or 'none'}")
    if kind == "octodns":
        return _octodns(name, settings)
    address, port = _server(name, settings.server)
    key = key_from(settings.key_name, settings.key_algorithm, settings.key_file)
    return Rfc2136(name, address, port, key, settings.timeout, limit, settings.least_ttl)


def _octodns(name: str, settings: DnsTarget) -> OctoDns:
    secrets = {option: _secret(name, option, Path(file)) for option, file in settings.secret_files.items()}
    return OctoDns(
        name,
        load_provider(name, settings.provider, settings.options, secrets),
        seconds=settings.zone_timeout,
        at_once=settings.at_once,
        per_minute=settings.per_minute,
        text_limit=settings.text_limit,
        least_ttl=settings.least_ttl,
        secrets=tuple(secrets.values()),
    )


def _secret(name: str, option: str, file: Path) -> str:
    """What a file holds, if nobody else can read it. Raises ConfigError, which never says what it is."""
    place = f"dns.targets.{name}: secret_files.{option}: {file}"
    try:
        mode = file.stat().st_mode
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(f"{place} cannot be read: {reason}") from error
    if mode & 0o027:
        raise ConfigError(f"{place} can be read or changed by others", hint=f"chmod 0600 {file}")
    if not text:
        raise ConfigError(f"{place} is empty")
    return text


def _apex(site: Site, zone: str) -> list[Record]:
    return [
        one for one in wanted(zone, normal_domain(site.config.host), (), site.config.dns) if one.type in ("SOA", "NS")
    ]


def _server(name: str, text: str) -> tuple[str, int]:
    """`address`, `address:port` or `[IPv6]:port`."""
    host, port = text, "53"
    if text.count(":") == 1 or text.startswith("["):
        host, _, port = text.rpartition(":") if not text.endswith("]") else (text, "", "53")
    if not host or not port.isdigit():
        raise ConfigError(f"dns.targets.{name}: server {text!r} is not an address with an optional port")
    return host.strip("[]"), int(port)
