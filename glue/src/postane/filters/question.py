"""A call of a filter that is begun at once, and becomes a task only in so far as it has to wait.

Most calls answer without waiting: they look into memory, or have nothing to say. A task of their own and a timer for
each would cost them several times their work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

_NOTHING = object()


class Question(Coroutine[Any, Any, None]):
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
