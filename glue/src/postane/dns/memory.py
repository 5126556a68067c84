"""What is asked once is known to all who ask: answers for their time, failures for a moment, questions under way.

A silent server so costs one wait, not one for each who asks. Nobody who gives up takes the answer from the others:
a question goes on to its end, and is there for the next who asks.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from postane.core.errors import TemporaryError
from postane.observe.tasks import Tasks

KEPT = 20_000  # answers
AT_ONCE = 500  # questions that are with the servers; each holds a socket
IN_LINE = 5_000  # questions under way, those that wait for their turn among them
FAILED = 10.0  # seconds that a failure holds: longer than a message takes, shorter than any retry

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    """`value`, or why there is none."""

    until: float
    value: V | None
    failed: str = ""


class Memory(Generic[K, V]):
    """Of one process. `clock` counts seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, at_once: int = AT_ONCE, in_line: int = IN_LINE
    ) -> None:
        self._clock = clock
        self._known: OrderedDict[K, _Known[V]] = OrderedDict()
        self._asking: dict[K, asyncio.Task[_Known[V]]] = {}
        self._tasks = Tasks()
        self._turns = asyncio.Semaphore(at_once)
        self._in_line = in_line

    def known(self, key: K) -> V | None:
        """The answer, if there is one that holds; None also for a failure."""
        found = self._known.get(key)
        return found.value if found is not None and found.until > self._clock() else None

    def put(self, key: K, value: V, life: float) -> None:
        """Keeps what was learnt beside an answer."""
        self._keep(key, _Known(self._clock() + life, value))

    def forget(self, *keys: K) -> None:
        """The next who asks for them waits for a new answer."""
        for key in keys:
            self._known.pop(key, None)

    async def get(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """The answer; `ask` gives it with the seconds that it holds. Raises TemporaryError, as `ask` does."""
        found = self._known.get(key)
        if found is None or found.until <= self._clock():
            found = await self._ask(key, ask)
        if found.value is None:
            raise TemporaryError(found.failed)
        return found.value

    async def _ask(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> _Known[V]:
        task = self._asking.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            if len(self._asking) >= self._in_line:
                raise TemporaryError(f"DNS: {len(self._asking)} questions are under way already")
            task = self._asking[key] = self._tasks.start("dns question", self._answer(key, ask))
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    async def _answer(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> _Known[V]:
        async with self._turns:
            try:
                value, life = await ask()
                found: _Known[V] = _Known(self._clock() + life, value)
            except TemporaryError as error:
                found = _Known(self._clock() + FAILED, None, str(error))
        self._keep(key, found)
        return found

    def _keep(self, key: K, found: _Known[V]) -> None:
        self._known[key] = found
        self._known.move_to_end(key)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)

    def _ended(self, key: K, task: asyncio.Task[_Known[V]]) -> None:
        if self._asking.get(key) is task:
            del self._asking[key]
