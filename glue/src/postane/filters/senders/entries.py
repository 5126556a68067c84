"""Allow and block entries: an address, a domain, a domain with all below it, an address of a host, a network.

    bob@example.org   that address, with any tag (bob+news@example.org)
    example.org       every address of just that domain; *@example.org says the same
    .example.org      the domain and all below it; *.example.org says the same
    192.0.2.1         a host
    2001:db8::/32     a network

Ten thousand entries are read once for each process and looked up in the time of a few: names in sets, networks in one
set for each length of prefix that occurs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from postane.core.address import Address, normal_domain
from postane.core.errors import AddressError

_PLAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_HOST = re.compile(r"[0-9.]+(?:/[0-9.]+)?|[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:/[0-9]+)?")
_BATV = re.compile(r"prvs=[0-9a-z]{4,16}=")  # a sender address that its host has signed

_Ip = IPv4Address | IPv6Address


def normal(text: str) -> str:
    """The form in which an entry is kept, and by which two spellings of it are the same. Raises AddressError."""
    text = text.strip()
    try:
        return _normal(text)
    except AddressError as error:
        said = str(error)
        raise AddressError(said if repr(text) in said else f"{text!r}: {said}") from error


def _normal(text: str) -> str:
    if _PLAIN.fullmatch(text) and "@xn--" not in text and ".xn--" not in text and len(text) <= 64:
        return text  # the common case, in a hundredth of the time
    if _HOST.fullmatch(text):
        return _network(text)
    bare = text.removeprefix("*")
    if bare.startswith("."):
        return "." + _domain(bare[1:], text)
    if bare.startswith("@") or "@" not in text:
        return _domain(bare.removeprefix("@") if bare != text or text.startswith("@") else text, text)
    if "*" in text:
        raise AddressError(f"{text!r}: * stands for all of a domain (*@example.org) or all below it (*.example.org)")
    return Address.parse(text).key


def _domain(name: str, text: str) -> str:
    domain = normal_domain(name)
    if "." not in domain:
        raise AddressError(f"{text!r} is neither an address, a domain nor a network; a domain has two labels or more")
    return domain


def _network(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise AddressError(f"{text!r} is no network: {error}") from error
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


class Entries:
    """Entries to look up. Raises AddressError that names the first that is none."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._names: set[str] = set()
        self._networks: dict[tuple[int, int], dict[int, str]] = {}
        for text in map(normal, texts):
            if "@" not in text and _HOST.fullmatch(text):
                self._add(ip_network(text), text)
            else:
                self._names.add(text)
        # The narrowest network is the one that is named in the log.
        self._prefixes = sorted(self._networks, reverse=True)

    def _add(self, network: IPv4Network | IPv6Network, text: str) -> None:
        shift = network.max_prefixlen - network.prefixlen
        key = (network.version, network.prefixlen)
        self._networks.setdefault(key, {})[int(network.network_address) >> shift] = text

    def __bool__(self) -> bool:
        return bool(self._names or self._networks)

    def naming(self, address: Address) -> str:
        """The entry that names an address, the narrowest first; "" if none does."""
        if not self._names:
            return ""
        return next((form for form in _forms(address) if form in self._names), "")

    def holding(self, host: _Ip) -> str:
        """The entry whose network holds the address of a host; "" if none does."""
        for version, length in self._prefixes:
            if version == host.version:
                found = self._networks[version, length].get(int(host) >> (host.max_prefixlen - length))
                if found is not None:
                    return found
        return ""


def _forms(address: Address) -> Iterator[str]:
    """The entries that would name an address."""
    domain = address.key_domain
    yield address.key
    if address.key_local.startswith("prvs=") and (signed := _BATV.match(address.key_local)):
        yield f"{address.key_local[signed.end() :]}@{domain}"
    if "+" in address.key_local:
        yield address.without_tag().key
    yield domain
    while domain:
        yield "." + domain
        domain = domain.partition(".")[2]


@lru_cache(256)
def entries(texts: tuple[str, ...]) -> Entries:
    """Kept by what they say: many policies share a wider level. Raises AddressError."""
    return Entries(texts)


def host(text: str) -> _Ip:
    """A peer's address; one that is IPv4 behind IPv6 is IPv4."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
