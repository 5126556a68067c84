"""Judges an Ansible inventory before any host is touched: every fault as one line, all of them at once.

Pure but for the look at secret files (`secret_fault`) and at the table of domains. Ansible's action `postane_preflight`
hands the inventory in and shows the lines. A Finding carries the value at fault, so that the caller can say where it is
written.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postane.core.address import Address, is_public_name, normal_domain
from postane.core.errors import AddressError

LAYERS = ("mail", "dns", "web")
SERVICES = ("redis", "rspamd", "clamav")  # beside the layers, where a host is to have them
RELEASES = {"12": "bookworm", "13": "trixie"}
OLDEST_ANSIBLE = (2, 19)
LONGEST_HOST_NAME = 64  # HOST_NAME_MAX

SHARED_VARIABLES = {
    "postane_hostname": "the name that other mail servers see; by default the inventory's name of the host",
    "postane_public_ipv4": "the host's IPv4 address as the world sees it; empty: none",
    "postane_public_ipv6": "the host's IPv6 address as the world sees it; empty: none",
    "postane_demo": "a demo may have private addresses, reserved names and its own certificate authority",
    "postane_secrets": "the folder on the controller in which the files with first passwords lie",
    "postane_domains": "the hosted domains with their accounts and aliases",
    "postane_domains_table": "a table of more domains, in CSV, on the controller",
    "postane_plans": "what rows of the table that have a plan have where they say nothing themselves",
}
# What a domain may have as a row of the table has it.
DOMAIN_SETTINGS = frozenset({"start", "plan", "dns_target", "keep", "spf", "dmarc", "mta_sts", "delegation", "ttl"})
DOMAIN_KEYS = frozenset({"name", "tenant", "accounts", "aliases"}) | DOMAIN_SETTINGS
ACCOUNT_KEYS = frozenset({"name", "password_file", "password", "display_name", "quota"})
ALIAS_KEYS = frozenset({"name", "targets"})

# RFC 2606 and RFC 6761: names that can have no MX in the world.
_RESERVED = re.compile(r"(?:^|.*\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost|local|internal)")


@dataclass(frozen=True, slots=True)
class Host:
    """A host as the inventory has it. `address` and `port` are how Ansible reaches it ("" where nothing is said)."""

    name: str
    groups: frozenset[str]
    variables: Mapping[str, object]
    address: str = ""
    port: int = 22

    @property
    def demo(self) -> bool:
        return self.variables.get("postane_demo") is True

    @property
    def fqdn(self) -> str:
        return str(self.variables.get("postane_hostname") or self.name)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, one line. `value` is what was written wrongly, None where something is missing."""

    text: str
    value: object = None


def secret_fault(path: str) -> str:
    """What is wrong with a password file; "" if nothing is."""
    file = Path(path).expanduser()
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return f"the password file {path} does not exist"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        return f"the password file {path} cannot be read: {reason}"
    if not stat.S_ISREG(mode):
        return f"the password file {path} is no file"
    if mode & 0o077:
        return f"the password file {path} can be read by others: chmod 600 {path}"
    return "" if text else f"the password file {path} is empty"


@dataclass(frozen=True, slots=True)
class Secrets:
    """How secrets are looked at: what is wrong with a password file ("": nothing), and whether a value that stands
    in the inventory stands there in clear text.
    """

    file_fault: Callable[[str], str] = secret_fault
    in_clear: Callable[[object], bool] = lambda _: False


def findings(
    hosts: Sequence[Host],
    role_variables: Collection[str],
    *,
    ansible_version: tuple[int, ...] = OLDEST_ANSIBLE,
    secrets: Secrets | None = None,
) -> list[Finding]:
    """All faults of the inventory, each text once. `hosts` are all hosts, ours or not.

    `role_variables` are the names that roles document.
    """
    found = [
        *_tool_faults(ansible_version),
        *_group_faults(hosts),
        *_name_faults([host for host in hosts if "postane_hosts" in host.groups]),
    ]
    known = {*role_variables, *SHARED_VARIABLES}
    for host in hosts:
        if "postane_hosts" in host.groups:
            found += _variable_faults(host, known)
            found += _address_faults(host)
            # `make demo` makes the passwords together with the container: one line is enough where both are missing.
            absent = host.demo and not host.address
            found += _domain_faults(host, Secrets(lambda _: "") if absent else (secrets or Secrets()))
            found += _table_faults(host)
    return list({finding.text: finding for finding in found}.values())


def release_findings(releases: Mapping[str, tuple[str, str]]) -> list[Finding]:
    """Hosts whose (distribution, major version) is not supported. `releases` is by host name."""
    wanted = " or ".join(f"{number} ({name})" for number, name in RELEASES.items())
    return [
        Finding(f"{host}: {distribution or 'an unknown system'} {version} is not supported: Debian {wanted} is needed")
        for host, (distribution, version) in sorted(releases.items())
        if distribution != "Debian" or version not in RELEASES
    ]


def _tool_faults(version: tuple[int, ...]) -> Iterator[Finding]:
    if version[:2] < OLDEST_ANSIBLE:
        have, need = (".".join(map(str, parts)) for parts in (version, OLDEST_ANSIBLE))
        yield Finding(f"ansible-core {have} is too old: {need} is needed (scripts/tools installs it into .venv)")


def _group_faults(hosts: Sequence[Host]) -> Iterator[Finding]:
    ours = [host for host in hosts if "postane_hosts" in host.groups]
    for host in hosts:
        layers = sorted(host.groups.intersection(LAYERS))
        named = layers + sorted(host.groups.intersection(SERVICES))
        if named and host not in ours:
            yield Finding(f"{host.name}: it is in the group {named[0]}, but not in postane_hosts above it")
        if host in ours and not layers:
            yield Finding(f"{host.name}: it is in postane_hosts, but in none of the groups {', '.join(LAYERS)}")
    if not ours:
        yield Finding("no host is in the group postane_hosts (inventories/single shows how)")
        return
    for layer in LAYERS:
        if not any(layer in host.groups for host in ours):
            yield Finding(f"no host is in the group {layer}")


def _name_faults(hosts: Sequence[Host]) -> Iterator[Finding]:
    names: dict[str, str] = {}
    doors: dict[tuple[str, int], str] = {}
    for host in hosts:
        name = _domain(host.fqdn)
        given = host.name if host.fqdn == host.name else f"{host.name}: postane_hostname {host.fqdn}"
        if not is_public_name(name):
            yield Finding(f"{given}: not a full host name, such as mail.{_suggested_domain(host)}", host.fqdn)
        elif len(name) > LONGEST_HOST_NAME:
            yield Finding(f"{given}: a host name has at most {LONGEST_HOST_NAME} characters", host.fqdn)
        elif not host.demo and _RESERVED.fullmatch(name):
            yield Finding(f"{given}: a name reserved for examples and tests; give the host's own", host.fqdn)
        if name and (other := names.setdefault(name, host.name)) != host.name:
            yield Finding(f"{host.name} and {other}: two hosts of one name, {name}", host.fqdn)
        if host.demo and not host.address:
            yield Finding(
                f"{host.name}: the demo is not up: run `make demo` (for a host of your own: -i YOUR_INVENTORY)"
            )
        door = (host.address or host.name, host.port)
        if (other := doors.setdefault(door, host.name)) != host.name:
            yield Finding(f"{host.name} and {other}: two hosts at one address, {door[0]} port {door[1]}", host.address)


def _suggested_domain(host: Host) -> str:
    domains = host.variables.get("postane_domains")
    if isinstance(domains, list) and domains and isinstance(domains[0], dict):
        name = str(domains[0].get("name", ""))
        if is_public_name(_domain(name)):
            return name
    return "example.org"


def _variable_faults(host: Host, known: Collection[str]) -> Iterator[Finding]:
    for name in sorted(host.variables):
        if name in known or name.startswith("ansible_"):
            continue
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if name.startswith("postane_") or meant:
            hint = (
                f"; did you mean {meant[0]}?" if meant else " (docs/howto/inventory.md and roles/*/README.md list them)"
            )
            yield Finding(f"{name}: there is no such variable{hint}", host.variables[name])
    demo = host.variables.get("postane_demo", False)
    if not isinstance(demo, bool):
        yield Finding(f"postane_demo: {demo!r} is neither true nor false", demo)


def _address_faults(host: Host) -> Iterator[Finding]:
    given = {}
    for version in (4, 6):
        name = f"postane_public_ipv{version}"
        text = str(host.variables.get(name) or "")
        if not text:
            continue
        given[name] = text
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield Finding(f"{host.name}: {name}: {text!r} is no address", host.variables[name])
            continue
        if address.version != version:
            yield Finding(f"{host.name}: {name}: {text} is an IPv{address.version} address", host.variables[name])
        elif not host.demo and (kind := _kind(address)):
            why = "no other mail server can reach an MX there"
            yield Finding(f"{host.name}: {name}: {text} is {kind} address: {why}", host.variables[name])
    if not given and not host.demo:
        yield Finding(f"{host.name}: postane_public_ipv4 or postane_public_ipv6 is missing: the zones need an address")


_DOCUMENTATION = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"))
)


def _kind(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """With its article; "" for an address of the Internet."""
    if address.is_loopback:
        return "a loopback"
    if any(address in network for network in _DOCUMENTATION):
        return "a documentation"
    if address.is_link_local:
        return "a link-local"
    if address.is_multicast:
        return "a multicast"
    return "" if address.is_global else "a private"


def _domain_faults(host: Host, secrets: Secrets) -> Iterator[Finding]:
    domains = host.variables.get("postane_domains", [])
    if not isinstance(domains, list):
        yield Finding("postane_domains: a list of domains is needed, each beginning with `- name:`", domains)
        return
    seen: set[str] = set()
    for domain in domains:
        if not isinstance(domain, dict) or not domain.get("name"):
            yield Finding(f"postane_domains: {_short(domain)} has no `name:`", domain)
            continue
        given = str(domain["name"])
        name = _domain(given)
        yield from _key_faults(f"domain {given}", domain, DOMAIN_KEYS)
        if not is_public_name(name):
            yield Finding(f"domain {given}: it is no domain name", domain["name"])
            continue
        if not host.demo and _RESERVED.fullmatch(name):
            yield Finding(f"domain {given}: a name reserved for examples and tests; give your own", domain["name"])
        if name in seen:
            yield Finding(f"domain {given}: it stands there twice", domain["name"])
        seen.add(name)
        yield from _setting_faults(given, domain)
        taken: set[str] = set()
        for account in _entries(domain, "accounts"):
            yield from _account_faults(given, account, taken, secrets)
        for alias in _entries(domain, "aliases"):
            yield from _alias_faults(given, alias, taken)
        for key in ("accounts", "aliases"):
            if not isinstance(domain.get(key) or [], list):
                yield Finding(f"domain {given}: {key} is no list", domain[key])


def _setting_faults(given: str, domain: Mapping[str, object]) -> Iterator[Finding]:
    said = {key: domain[key] for key in DOMAIN_SETTINGS.intersection(domain)}
    if not said:
        return
    from postane.admin import domain_table  # with much that an inventory without such keys does not need

    cells = {key: " ".join(map(str, value)) if isinstance(value, list) else str(value) for key, value in said.items()}
    _, faults = domain_table.judged({"domain": given, **cells})
    for fault in faults:
        yield Finding(f"domain {given}: {fault.column}: {fault.text}", domain.get(fault.column))


def _table_faults(host: Host) -> Iterator[Finding]:
    """Of the table of domains that the host has, if it does: its own, and where it is not at one with the list."""
    path, plans = host.variables.get("postane_domains_table"), host.variables.get("postane_plans") or {}
    if not isinstance(plans, dict) or not all(isinstance(plan, dict) for plan in plans.values()):
        yield Finding("postane_plans: a mapping of plans is needed: NAME: {quota: 5G}", plans)
        return
    if not path:
        return
    from postane.admin import domain_table

    file = Path(str(path)).expanduser()
    if not file.is_absolute():
        yield Finding(
            f"postane_domains_table: {path}: write the whole path, as in {{{{ inventory_dir }}}}/{path}", path
        )
        return
    try:
        rows = domain_table.read(file.read_bytes(), str(path), plans)
    except OSError as error:
        yield Finding(f"postane_domains_table: {path}: {error.strerror}", path)
    except domain_table.TableError as error:
        for line in str(error).splitlines():
            yield Finding(line)
    else:
        domains = host.variables.get("postane_domains") or []
        entries = domains if isinstance(domains, list) else []
        listed = {_domain(str(one.get("name", ""))) for one in entries if isinstance(one, dict)}
        for row in rows:
            if row.domain in listed:
                yield Finding(f"{path}:{row.line}: column domain: {row.shown} stands in postane_domains already")
            if not host.demo and _RESERVED.fullmatch(row.domain):
                text = "a name reserved for examples and tests; give your own"
                yield Finding(f"{path}:{row.line}: column domain: {row.shown}: {text}")


def _account_faults(domain: str, account: object, taken: set[str], secrets: Secrets) -> Iterator[Finding]:
    if not isinstance(account, dict) or not account.get("name"):
        yield Finding(f"domain {domain}: the account {_short(account)} has no `name:`", account)
        return
    address = f"{account['name']}@{domain}"
    yield from _key_faults(f"account {address}", account, ACCOUNT_KEYS)
    yield from _mailbox_faults("account", str(account["name"]), domain, taken, account["name"])
    if "password" in account and "password_file" in account:
        yield Finding(f"account {address}: it has a password and a password_file: keep one", account["password_file"])
    elif "password_file" in account and (fault := secrets.file_fault(str(account["password_file"]))):
        yield Finding(f"account {address}: {fault}", account["password_file"])
    elif "password" in account and not account["password"]:
        yield Finding(f"account {address}: the password is empty", account["name"])
    elif "password" in account and secrets.in_clear(account["password"]):
        remedy = "put it into a password_file, or encrypt it by ansible-vault encrypt_string"
        yield Finding(f"account {address}: the password stands there in clear text: {remedy}", account["password"])


def _alias_faults(domain: str, alias: object, taken: set[str]) -> Iterator[Finding]:
    if not isinstance(alias, dict) or not alias.get("name"):
        yield Finding(f"domain {domain}: the alias {_short(alias)} has no `name:`", alias)
        return
    address = f"{alias['name']}@{domain}"
    yield from _key_faults(f"alias {address}", alias, ALIAS_KEYS)
    yield from _mailbox_faults("alias", str(alias["name"]), domain, taken, alias["name"])
    targets = alias.get("targets")
    if not isinstance(targets, list) or not targets:
        yield Finding(f"alias {address}: it needs a list of targets", alias["name"])
        return
    for target in targets:
        try:
            Address.parse(str(target))
        except AddressError as error:
            yield Finding(f"alias {address}: target {target}: {error}", target)


def _mailbox_faults(kind: str, local: str, domain: str, taken: set[str], value: object) -> Iterator[Finding]:
    """A local part alone, well-formed, and not used twice in its domain; `*` is the catch-all alias."""
    if kind == "alias" and local == "*":
        key = f"*@{domain}"
    elif local == "*":
        yield Finding(f"account *@{domain}: the catch-all is an alias", value)
        return
    elif "@" in local and not local.startswith('"'):
        yield Finding(f"{kind} {local} of {domain}: write the part before the @ alone", value)
        return
    else:
        try:
            key = Address.parse(f"{local}@{domain}").key
        except AddressError as error:
            yield Finding(f"{kind} {local}@{domain}: {error}", value)
            return
    if key in taken:
        yield Finding(f"{kind} {local}@{domain}: the address stands there twice", value)
    taken.add(key)


def _key_faults(what: str, entry: Mapping[object, object], allowed: Collection[str]) -> Iterator[Finding]:
    for key in entry:
        if key not in allowed:
            meant = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(sorted(allowed))}"
            yield Finding(f"{what}: there is no key {key}; {hint}", entry[key])


def _entries(domain: Mapping[object, object], key: str) -> list[object]:
    entries = domain.get(key)
    return entries if isinstance(entries, list) else []


def _domain(text: str) -> str:
    """The normal form; "" for what is none."""
    try:
        return normal_domain(text)
    except AddressError:
        return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
