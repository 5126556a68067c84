"""Connections kept for the next message, by destination; one that is unused for some seconds is closed."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What can be kept: it knows whether it still stands, and can be let go without waiting."""

    @property
    def usable(self) -> bool: ...

    def discard(self) -> None: ...


C = TypeVar("C", bound=Connection)


class Pool(Generic[C]):
    """The last one put back is the first one taken: the surplus of a busy hour grows old and goes."""

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._idle: dict[str, list[tuple[C, asyncio.TimerHandle]]] = {}

    def take(self, key: str) -> C | None:
        """A connection that stood when last looked at; the peer may have closed it since."""
        idle = self._idle.get(key)
        while idle:
            connection, timer = idle.pop()
            timer.cancel()
            if not idle:
                del self._idle[key]
            if connection.usable:
                return connection
            connection.discard()
        return None

    def put(self, key: str, connection: C) -> None:
        """Keeps a connection between two transactions; a broken one is let go."""
        if not connection.usable:
            connection.discard()
            return
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire, key, connection)
        self._idle.setdefault(key, []).append((connection, timer))

    def _expire(self, key: str, connection: C) -> None:
        rest = [item for item in self._idle.get(key, ()) if item[0] is not connection]
        if rest:
            self._idle[key] = rest
        else:
            self._idle.pop(key, None)
        connection.discard()

    def close(self) -> None:
        for idle in self._idle.values():
            for connection, timer in idle:
                timer.cancel()
                connection.discard()
        self._idle = {}

    def __len__(self) -> int:
        return sum(len(idle) for idle in self._idle.values())
