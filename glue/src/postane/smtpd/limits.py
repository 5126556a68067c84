"""Who has how many sessions open: counted per peer and in all, so that one peer cannot take every place."""

from __future__ import annotations

import asyncio
import mmap
import resource
from contextlib import suppress
from ipaddress import ip_address

from postane.config.model import Limits

_NETS = 16_384
_ROW = 1 + 2 * _NETS
_CELL = 4  # octets


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


class Counts:
    """Open sessions of all workers of a host, by net and in all; made before the workers are forked.

    Shared memory without a lock: each worker writes a row of its own and adds up all rows to read. A row has room for
    16,384 nets, twice, under two parts of the net's hash; the smaller of the two sums counts. So what is read is never
    too small, and larger only where two nets share both places. Two workers that accept in the same instant may let
    one session more pass than the limit says.
    """

    def __init__(self, workers: int = 1) -> None:
        self._rows = range(0, workers * _ROW, _ROW)
        self._map = mmap.mmap(-1, workers * _ROW * _CELL)
        self._cells = memoryview(self._map).cast("I")

    def clear(self, worker: int) -> None:
        """Before its first session: the row may hold what a worker had open when it died."""
        row = self._rows[worker] * _CELL
        self._map[row : row + _ROW * _CELL] = bytes(_ROW * _CELL)

    def add(self, worker: int, net: str, change: int) -> None:
        row, cells = self._rows[worker], self._cells
        for place in _places(net):
            cells[row + place] += change

    def of(self, net: str) -> tuple[int, int]:
        """(sessions in all, sessions of the net)."""
        everyone, first, second = _places(net)
        rows, cells = self._rows, self._cells
        return (
            sum(cells[row + everyone] for row in rows),
            min(sum(cells[row + first] for row in rows), sum(cells[row + second] for row in rows)),
        )


def _places(net: str) -> tuple[int, int, int]:
    """Python's hash is keyed anew at each start, and forked workers share the key: nobody can aim at a place."""
    value = hash(net)
    return 0, 1 + (value & _NETS - 1), 1 + _NETS + (value >> 32 & _NETS - 1)


def _places_of_process() -> int:
    """Three quarters of the files that it may open; the rest is for the spool, the directory, and large texts."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if files == resource.RLIM_INFINITY else files * 3 // 4


class Sessions:
    """Open sessions of one worker, within the limits of the host."""

    def __init__(self, limits: Limits, counts: Counts | None = None, worker: int = 0) -> None:
        """`worker`: which row of `counts` is this one's; without counts it is the only worker."""
        self._limits = limits
        self._counts = counts or Counts()
        self._worker = worker
        self._counts.clear(worker)
        self._places = _places_of_process()
        self.open = 0
        self.entered = 0  # in all
        self.refused = 0
        self._none_open = asyncio.Event()

    def enter(self, net: str) -> bool:
        """Counts one more; False, and not counted, if that is too many."""
        everyone, of_net = self._counts.of(net)
        limits = self._limits
        if self.open >= self._places or everyone >= limits.connections or of_net >= limits.connections_per_peer:
            self.refused += 1
            return False
        self.entered += 1
        self.open += 1
        self._counts.add(self._worker, net, 1)
        return True

    def leave(self, net: str) -> None:
        self.open -= 1
        self._counts.add(self._worker, net, -1)
        if not self.open:
            self._none_open.set()

    async def drained(self, seconds: float) -> bool:
        """Waits until no session is open; False if some still are after that time."""
        self._none_open.clear()
        if self.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none_open.wait(), seconds)
        return not self.open
