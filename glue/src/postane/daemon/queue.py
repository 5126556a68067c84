"""The queue process: the spool's view, the runner and the operator's socket put together, until it is told to stop."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from postane.config.model import Config
from postane.core.ports import Notices, Routes
from postane.daemon.child import Stop, run
from postane.daemon.metrics import Showing, folder
from postane.daemon.supervisor import Job, Pipes
from postane.filters.auth import public_suffix
from postane.observe.metrics import Metrics
from postane.observe.tasks import Tasks
from postane.quarantine.control import PART
from postane.quarantine.service import Service
from postane.queue.clock import steady
from postane.queue.control import Control, Part
from postane.queue.runner import QueueRunner
from postane.spool.view import SpoolView

log = structlog.get_logger("queue")

_NICE = 10
_DRAIN = 20.0  # seconds that deliveries under way get at a stop


class Ways:
    """What the queue asks beside its store; made after the fork."""

    def __init__(self, routes: Routes, notices: Notices, quarantine: Service | None = None) -> None:
        self.routes = routes
        self.notices = notices
        self.quarantine = quarantine


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
    metrics = Metrics()
    runner = QueueRunner(view, ways.routes, ways.notices, config.queue, now=steady(), metrics=metrics)
    quarantine = ways.quarantine
    parts: Mapping[str, Part] = {} if quarantine is None else {PART: quarantine.answer}
    control = Control(runner, parts)
    await control.start(Path(config.runtime) / "queue.sock")
    tasks = Tasks(on_failure=lambda name, error: stop.now())
    tasks.start("queue-run", runner.run())
    if quarantine is not None:
        keeping = quarantine.run(view, lambda: runner.all_read, lambda one: one in runner.entries, metrics)
        tasks.start("quarantine", keeping)
    _watch(metrics, runner, config.state)
    helpers = Tasks()
    helpers.start("metrics", Showing(folder(config), "queue", metrics).run())
    stop.ready()
    await stop.wait()
    runner.stop()
    await control.close()
    if not await runner.drain(_DRAIN):
        log.warning("drain_cut")
    await tasks.close()
    await view.close()
    if quarantine is not None:
        await quarantine.close()
    await helpers.close()


def _watch(metrics: Metrics, runner: QueueRunner, state: str) -> None:
    """What the queue knows anyway, asked when it is read."""

    def look() -> None:
        now, oldest, held = runner.now(), 0.0, 0
        for entry in runner.entries.values():
            oldest = max(oldest, now - entry.received_at)
            held += entry.held
        metrics.gauge("postane_queue_messages", "Messages in the queue", len(runner.entries))
        metrics.gauge("postane_queue_held", "Messages that wait for the operator", held)
        metrics.gauge("postane_queue_oldest_seconds", "Age of the oldest message in the queue", oldest)
        metrics.gauge("postane_queue_running", "Deliveries under way", runner.scheduler.running)
        text = "Destinations that are not tried now, because nobody answers there"
        metrics.gauge("postane_queue_destinations_closed", text, len(runner.scheduler.closed(now)))
        text = "Since the public suffix list was last known to be the newest"
        metrics.gauge("postane_suffix_list_age_seconds", text, public_suffix.age(state, time.time()))

    metrics.watch(look)


def tune_collector() -> None:
    """Messages that wait live long: a collector that walks through all of them again and again takes a third of the
    time of a start with a hundred thousand.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
