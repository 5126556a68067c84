"""What several filters need of one message is made once: a memory of work under way and just done."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_KEPT = 2_000  # results; a message needs a handful, and they are asked for within its data phase

T = TypeVar("T")


class Once:
    """Of one process; the oldest results go first."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, str], asyncio.Future[Any]] = OrderedDict()

    async def get(self, key: tuple[str, str], make: Callable[[], Awaitable[T]]) -> T:
        """The result for `key`. It is a task of its own: one who is late and gives up takes it from nobody else.

        An error is everybody's who waits for it, and not remembered.
        """
        made = self._made.get(key)
        if made is None:

            async def work() -> T:
                return await make()

            made = self._made[key] = asyncio.ensure_future(work())
            made.add_done_callback(lambda done: self._forget_failed(key, done))
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        result: T = await asyncio.shield(made)
        return result

    def _forget_failed(self, key: tuple[str, str], done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._made.pop(key, None)
