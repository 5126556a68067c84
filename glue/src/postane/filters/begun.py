"""What is begun at once, and costs a task or a timer only if it has to wait.

Most calls of a filter answer without waiting, as they have nothing to say, and most questions to the DNS are answered
from memory: a task of their own and a timer for each would cost several times their work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_NOTHING = object()


async def until(end: float, asked: Awaitable[T]) -> T:
    """What is asked, if it comes by `end`, on the loop's clock. Raises TimeoutError."""
    steps = asked.__await__()
    try:
        first = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    async with asyncio.timeout_at(end):
        return await _Rest(steps, first)


class _Rest(Generic[T]):
    """The steps after the first, which waits for `first`."""

    def __init__(self, steps: Generator[Any, Any, T], first: object) -> None:
        self._steps, self._first = steps, first

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._first
        while True:
            try:
                try:
                    given = yield waits_for
                except BaseException as error:
                    waits_for = self._steps.throw(error)
                else:
                    waits_for = self._steps.send(given)
            except StopIteration as done:
                result: T = done.value
                return result


class Begun(Coroutine[Any, Any, None]):
    """One call. `ended` is the instant (time.monotonic) at which the answer came, 0 before; then there is `answer`, or
    `error` for what was raised: nothing goes further up, as an exit raised in a task would end the event loop.
    """

    __slots__ = ("_coroutine", "_waits_for", "answer", "begun", "ended", "error")

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine = coroutine
        self._waits_for: object = _NOTHING
        self.answer: object = None
        self.error: BaseException | None = None
        self.begun = time.monotonic()
        self.ended = 0.0

    def begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """Goes as far as it goes without waiting. The task has the rest to do, if there is any.

        The first step is made within the task as every other, so that what asks for the current task gets it, as
        asyncio.timeout does. (Python 3.12 knows eager tasks, 3.11 only what others make tasks of.)
        """
        context = copy_context()
        task = asyncio.Task(self, loop=loop, context=context)
        outer = asyncio.current_task(loop)
        assert outer is not None
        asyncio.tasks._leave_task(loop, outer)
        asyncio.tasks._enter_task(loop, task)
        try:
            self._waits_for = context.run(self._step, self._coroutine.send, None)
        except StopIteration:
            pass
        finally:
            asyncio.tasks._leave_task(loop, task)
            asyncio.tasks._enter_task(loop, outer)
        return task

    # -- what a task asks of its coroutine ------------------------------------------------------------------------

    def send(self, value: None, /) -> object:
        if self._waits_for is not _NOTHING:
            waits_for, self._waits_for = self._waits_for, _NOTHING
            return waits_for
        if self.ended:
            raise StopIteration
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> object:
        self._waits_for = _NOTHING
        if self.ended:
            raise StopIteration
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        raise NotImplementedError

    def _step(self, go: Callable[..., object], *given: object) -> object:
        """What is waited for. Raises StopIteration at the end."""
        try:
            return go(*given)
        except StopIteration as end:
            self.answer = end.value
        except BaseException as error:  # whatever a filter does, sys.exit too
            self.error = error
        self.ended = time.monotonic()
        raise StopIteration
