"""The queue process: the spool's view, the runner and the operator's socket put together, until it is told to stop."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from postane.config.model import Config
from postane.core.ports import Notices, Routes
from postane.daemon.child import Stop, run
from postane.daemon.supervisor import Job, Pipes
from postane.observe.tasks import Tasks
from postane.queue.clock import steady
from postane.queue.control import Control
from postane.queue.runner import QueueRunner
from postane.spool.view import SpoolView

log = structlog.get_logger("queue")

_NICE = 10
_DRAIN = 20.0  # seconds that deliveries under way get at a stop


class Ways:
    """What the queue asks beside its store; made after the fork."""

    def __init__(self, routes: Routes, notices: Notices) -> None:
        self.routes = routes
        self.notices = notices


def job(config: Config, make_ways: Callable[[Config], Ways]) -> Job:
    def work(pipes: Pipes) -> None:
        # Where processors are short, peers on the line go first: what is in the queue is safe, and can wait.
        with suppress(OSError):  # a hardened unit forbids the call, and has the line Nice= instead
            os.nice(_NICE)
        run(pipes, lambda stop: serve(config, make_ways, stop))

    return Job("queue", work, alone=True)


async def serve(config: Config, make_ways: Callable[[Config], Ways], stop: Stop) -> None:
    """Works off the queue until `stop`, then lets deliveries under way end."""
    tune_collector()
    view = SpoolView(Path(config.state) / "spool", config.spool)
    ways = make_ways(config)
    runner = QueueRunner(view, ways.routes, ways.notices, config.queue, now=steady())
    control = Control(runner)
    await control.start(Path(config.runtime) / "queue.sock")
    tasks = Tasks(on_failure=lambda name, error: stop.now())
    tasks.start("queue-run", runner.run())
    stop.ready()
    await stop.wait()
    runner.stop()
    await control.close()
    if not await runner.drain(_DRAIN):
        log.warning("drain_cut")
    await tasks.close()
    await view.close()


def tune_collector() -> None:
    """Messages that wait live long: a collector that walks through all of them again and again takes a third of the
    time of a start with a hundred thousand.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
