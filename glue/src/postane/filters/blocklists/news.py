"""What the workers of a host tell each other about lists, through the store: one that is set aside by one of them is so
for all within seconds, and not only once each has found out for itself.

Of one host alone: what a list says to another host's resolver is another matter. A store that does not answer tells
nothing, and each goes by what it sees itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from postane.core.errors import TemporaryError
from postane.core.ports import Store
from postane.filters.blocklists.names import Kind

EVERY = 5.0  # seconds between two looks


class News:
    def __init__(self, store: Callable[[], Store], host: str) -> None:
        self._store = store
        self._host = host

    async def tell(self, zone: str, kind: Kind, reason: str, seconds: float) -> None:
        """A list is set aside, and will be tested in `seconds`; without a reason: it is back."""
        with suppress(TemporaryError):
            await self._store().put(self._key(zone, kind), reason, max(seconds, 1.0))

    async def heard(self, zone: str, kind: Kind) -> str:
        """Why somebody set the list aside, "" if nobody did."""
        try:
            return await self._store().get(self._key(zone, kind)) or ""
        except TemporaryError:
            return ""

    async def close(self) -> None:
        await self._store().close()

    def _key(self, zone: str, kind: Kind) -> str:
        return f"dnsbl aside {self._host} {kind} {zone}"
