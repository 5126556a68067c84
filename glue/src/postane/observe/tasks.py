"""Background tasks in one place: each has a name, is kept until it ends, and never fails unseen.

asyncio forgets a task that nobody holds and hides its exception until it is collected; `Tasks` does neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from postane.observe.log import get_logger

_log = get_logger("tasks")

_CANCEL_AGAIN = 0.5  # seconds

T = TypeVar("T")


class Tasks:
    """The tasks of one part of the daemon; `close` ends them all."""

    def __init__(self, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        """`on_failure` hears of a task that ended by an exception, after it was logged."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs `work` as a task of that name."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("background task failed", task=task.get_name(), exc_info=error)
            if self._on_failure is not None:
                self._on_failure(task.get_name(), error)

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - a drain has a deadline by nature
        """Waits until all tasks have ended by themselves; False if some still run after `timeout` seconds."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks, timeout=timeout)
        return not pending

    async def close(self) -> None:
        """Cancels what still runs and waits for it.

        Again and again: what a task calls may lose a cancellation (asyncio.wait_for before Python 3.12 does when what
        it waited for came in the same turn), and then the task would be waited for for ever.
        """
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN)
