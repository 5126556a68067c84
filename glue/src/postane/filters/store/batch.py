"""Gathers what is asked while an earlier answer is on its way, and asks it together.

Under load many questions share one transaction or one round trip; a lone one waits for nobody.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postane.core.errors import ServiceMissingError
from postane.core.ports import Charge
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.observe.tasks import Tasks

log = get_logger("filters")

_TOGETHER = 200  # questions in one go
_LAST_ANSWER = 4.0  # seconds: a go that takes longer never ends
_WAITING = 20_000  # questions that wait; who comes then is told so


@dataclass(frozen=True, slots=True)
class Take:
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class Get:
    key: str


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Add:
    key: str
    by: int
    seconds: float


Operation = Take | Get | Put | Add


class BatchedStore(ABC):
    """The core.ports.Store of both kinds, but for the doing."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: list[tuple[Operation, asyncio.Future[Any]]] = []
        self._tasks = Tasks()
        self._working = False
        self._closing: asyncio.Event | None = None
        self._up: bool | None = None

    @abstractmethod
    async def _run(self, operations: Sequence[Operation]) -> Sequence[Any]:
        """An answer for each, in order; what is wrong with one alone may be an exception in its place.

        Raises ServiceMissingError where none can be answered.
        """

    @abstractmethod
    async def _release(self) -> None:
        """Gives back connections."""

    async def take(self, key: str, cost: float, rate: float, burst: float) -> float:
        (wait,) = await self.take_all((Charge(key, cost, rate, burst),))
        return wait

    async def take_all(self, charges: Sequence[Charge]) -> list[float]:
        for charge in charges:
            if charge.rate <= 0 or charge.burst <= 0:
                raise ValueError(f"no bucket: {charge}")
        waits: list[float] = await self._ask(Take(tuple(charges))) if charges else []
        return waits

    async def get(self, key: str) -> str | None:
        value: str | None = await self._ask(Get(key))
        return value

    async def put(self, key: str, value: str, seconds: float) -> None:
        await self._ask(Put(key, value, seconds))

    async def add(self, key: str, by: int, seconds: float) -> int:
        value: int = await self._ask(Add(key, by, seconds))
        return value

    async def close(self) -> None:
        """Between two goes, so that nobody who asks meanwhile goes without an answer, unless there is none to come."""
        if self._working:
            done = self._closing = self._closing or asyncio.Event()
            try:
                await asyncio.wait_for(done.wait(), _LAST_ANSWER)
                return
            except TimeoutError:
                await self._tasks.close()
        await self._release()

    async def _ask(self, operation: Operation) -> Any:
        if len(self._waiting) >= _WAITING:
            self._waiting = [(one, answer) for one, answer in self._waiting if not answer.done()]
            if len(self._waiting) >= _WAITING:
                raise ServiceMissingError(f"the store of the filters is {_WAITING} questions behind")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, answer))
        if not self._working:
            self._working = True
            self._tasks.start("store", self._work())
        return await answer

    async def _work(self) -> None:
        asked: list[tuple[Operation, asyncio.Future[Any]]] = []
        try:
            while self._waiting:
                # Who gave up waiting is not served: what a limit grants nobody would use.
                asked = [one for one in self._waiting[:_TOGETHER] if not one[1].done()]
                del self._waiting[:_TOGETHER]
                if asked:
                    await self._answer(asked)
                if self._closing is not None:
                    await self._release()
                    self._closing.set()
                    self._closing = None
        finally:
            self._working, self._closing = False, None
            for _, answer in (*asked, *self._waiting):  # only where this task was cancelled
                if not answer.done():
                    answer.set_exception(ServiceMissingError("the store of the filters was closed"))
            self._waiting.clear()

    async def _answer(self, asked: Sequence[tuple[Operation, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._run([operation for operation, _ in asked])
        except Exception as error:  # nobody may wait for ever
            self._tell(up=False, reason=str(error) or repr(error))
            self._count(len(asked))
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(ServiceMissingError(str(error) or repr(error)))
            return
        self._tell(up=True)
        for (_, answer), result in zip(asked, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                self._count(1)
                answer.set_exception(ServiceMissingError(f"the store of the filters: {result}"))
            else:
                answer.set_result(result)

    def _count(self, failed: int) -> None:
        self._metrics.count("postane_filter_store_failures_total", "Questions that the store left unanswered", failed)

    def _tell(self, *, up: bool, reason: str = "") -> None:
        """Into log and metrics, when it changes."""
        if up is self._up:
            return
        if not up:
            log.error("store_away", reason=reason)
        elif self._up is not None:
            log.info("store_back")
        self._up = up
        self._metrics.gauge("postane_filter_store_up", "1: the store of the filters answers", float(up))
