"""What several filters need of one message is made once: a memory of work under way and just done."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_KEPT = 1_000  # messages; each is forgotten as soon as it is judged

T = TypeVar("T")


class Once:
    """Of one process; the oldest messages go first."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, dict[str, asyncio.Future[Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    async def get(self, message_id: str, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """The result `name` of a message. It is a task of its own: one who is late and gives up takes it from nobody
        else. An error is everybody's who waits for it, and not remembered.
        """
        of_message = self._made.get(message_id)
        if of_message is None:
            of_message = self._made[message_id] = {}
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        made = of_message.get(name)
        if made is None:

            async def work() -> T:
                return await make()

            made = of_message[name] = asyncio.ensure_future(work())
            made.add_done_callback(lambda done: _forget_failed(of_message, name, done))
        result: T = await asyncio.shield(made)
        return result

    def forget(self, message_id: str) -> None:
        """Results may be large. What is still under way goes on for those who wait for it."""
        self._made.pop(message_id, None)


def _forget_failed(of_message: dict[str, asyncio.Future[Any]], name: str, done: asyncio.Future[Any]) -> None:
    if done.cancelled() or done.exception() is not None:
        of_message.pop(name, None)
