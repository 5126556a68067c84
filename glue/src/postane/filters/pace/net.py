"""The network that stands for a peer where its single address would say too little. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@lru_cache(10_000)
def unit(ip: str) -> str:
    """An IPv4 address, or an IPv6 /64, the least that one site gets (RFC 6177). Raises ValueError."""
    return _within(ip, 32, 64)


@lru_cache(10_000)
def neighbourhood(ip: str) -> str:
    """The IPv4 /24 or IPv6 /64 in which the machines of one sender stand side by side. Raises ValueError."""
    return _within(ip, 24, 64)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def within(ip: str, nets: tuple[Network, ...]) -> bool:
    """Raises ValueError."""
    return bool(nets) and _is_in(ip, nets)


@lru_cache(10_000)
def _is_in(ip: str, nets: tuple[Network, ...]) -> bool:
    address = ip_address(ip)
    return any(address in net for net in nets)


def _within(ip: str, v4: int, v6: int) -> str:
    address = ip_address(ip)
    if isinstance(address, IPv6Address):
        # A zone index (fe80::1%eth0) is this host's affair.
        address = address.ipv4_mapped or IPv6Address(int(address))
    prefix = v4 if address.version == 4 else v6
    return str(address) if prefix == 32 else str(ip_network((address, prefix), strict=False))
