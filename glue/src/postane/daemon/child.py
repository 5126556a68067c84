"""The frame of every child process: an event loop, signs of life, and an orderly end.

run(pipes, body)    body(stop) sets things up, calls stop.ready() and waits for stop.wait(), then tears down
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
import uvloop

from postane.daemon.supervisor import ALIVE, READY, RETIRE, Pipes

log = structlog.get_logger("daemon")

_LEAVE = 2.0  # seconds that a process waits at its end for what does not end by itself


class Stop:
    """Tells a child's body when to end, and the supervisor that it is ready.

    There are two ways to end: to stop, and to retire, when a successor has taken over already and nothing hurries.
    """

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._event = asyncio.Event()  # either of both
        self._stopped = asyncio.Event()

    def ready(self) -> None:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipes.status, READY)

    async def wait(self) -> None:
        """Returns when it is to stop or to retire; says every two seconds that the loop turns."""
        while not self._event.is_set():
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._pipes.status, ALIVE)
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._event.wait()

    async def respite(self, seconds: float) -> bool:
        """Waits so long, unless it is to stop: then it returns False at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        return not self._stopped.is_set()

    @property
    def retires(self) -> bool:
        return not self._stopped.is_set()

    def now(self) -> None:
        """SIGTERM came, or the supervisor is gone."""
        self._stopped.set()
        self._event.set()

    def retire(self) -> None:
        self._event.set()


async def _leave() -> None:
    """What is still under way ends, or is left behind: a task of a filter that lets nobody cancel it, or a thread that
    does not come back, would keep the process for ever. All that has to be safe is safe by now.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    ends = asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor())
    _, left = await asyncio.wait({*others, ends}, timeout=_LEAVE)
    if left:
        names = sorted(task.get_name() for task in left if isinstance(task, asyncio.Task))
        log.warning("left_behind", tasks=names[:10], count=len(left))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run(pipes: Pipes, body: Callable[[Stop], Awaitable[None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = Stop(pipes)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.now)
        loop.add_signal_handler(RETIRE, stop.retire)
        loop.add_reader(pipes.life, stop.now)
        await body(stop)
        await _leave()

    uvloop.run(main())
