"""A store that is looked at and left as it is: what would be granted, without taking it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from postane.core.ports import Charge, Store


class Looking:
    """The core.ports.Store of `postane filters test`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def take(self, key: str, cost: float, rate: float, burst: float) -> float:
        (wait,) = await self.take_all((Charge(key, cost, rate, burst),))
        return wait

    async def take_all(self, charges: Sequence[Charge]) -> list[float]:
        looked = [replace(one, cost=0.0, need=one.cost if one.need is None else one.need) for one in charges]
        return await self._store.take_all(looked)

    async def get(self, key: str) -> str | None:
        return await self._store.get(key)

    async def put(self, key: str, value: str, seconds: float) -> None:
        """Nothing."""

    async def add(self, key: str, by: int, seconds: float) -> int:
        return int(await self._store.get(key) or 0) + by

    async def close(self) -> None:
        await self._store.close()
