"""Who has how many sessions open: counted per peer and in all, so that one peer cannot take every place."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address

from postane.config.model import Limits


def net_of(ip: str) -> str:
    """The unit that is counted: an IPv4 address, an IPv6 /64 (RFC 6177: the least that one site gets)."""
    if ":" not in ip:
        return ip
    address = ip_address(ip)
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return ":".join(address.exploded.split(":")[:4])
    return ip


class Sessions:
    """Open sessions of one worker."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_net: Counter[str] = Counter()
        self.open = 0
        self._none_open = asyncio.Event()

    def enter(self, net: str) -> bool:
        """Counts one more; False, and not counted, if that is too many."""
        if self.open >= self._limits.connections or self._by_net[net] >= self._limits.connections_per_peer:
            return False
        self.open += 1
        self._by_net[net] += 1
        return True

    def leave(self, net: str) -> None:
        self.open -= 1
        self._by_net[net] -= 1
        if not self._by_net[net]:
            del self._by_net[net]
        if not self.open:
            self._none_open.set()

    async def drained(self, seconds: float) -> bool:
        """Waits until no session is open; False if some still are after that time."""
        self._none_open.clear()
        if self.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), seconds)
        return not self.open
