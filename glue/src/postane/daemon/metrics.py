"""What processes of the daemon tell of themselves, and how they show what they count (see observe.scrape)."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from postane.config.model import Config
from postane.observe import scrape
from postane.observe.metrics import Metrics

log = structlog.get_logger("metrics")

_PAGE = os.sysconf("SC_PAGE_SIZE")


def folder(config: Config) -> Path:
    return Path(config.runtime) / scrape.FOLDER


class Showing:
    """Shows what a process counts. A figure that cannot be shown stops no mail: it is logged, once."""

    def __init__(self, place: Path, worker: str, metrics: Metrics) -> None:
        self._place = place
        self._worker = worker
        self._metrics = metrics
        self._failed = False
        metrics.watch(lambda: _look_at_process(metrics))

    async def run(self) -> None:
        """Every two seconds until it is cancelled, and then once more."""
        try:
            while True:
                self.write()
                await asyncio.sleep(scrape.EVERY)
        finally:
            self.write()

    def write(self) -> None:
        try:
            scrape.write(self._place, self._worker, self._metrics)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("metrics_not_shown", folder=str(self._place), reason=error.strerror)
            self._failed = True


class Ledger:
    """The supervisor's part: what befell its children, and what those that ended had counted.

    `service` names it: `smtpd-supervisor`. Without a place it only counts.
    """

    def __init__(self, place: Path | None = None, service: str = "") -> None:
        self._place = place
        self._name = f"{service}-supervisor"
        self._metrics = Metrics()
        self._showing = Showing(place, self._name, self._metrics) if place is not None else None

    def begin(self, workers: Iterable[str]) -> None:
        """The service begins: its counters begin at zero."""
        if self._place is None:
            return
        with suppress(OSError):
            for worker in (self._name, *workers):
                scrape.clear(self._place, worker)
        self.write()

    def ended(self, worker: str, pid: int, why: str) -> None:
        """`why`: stopped, or died."""
        self._metrics.count("postane_worker_ends", "Processes that ended", of=worker, why=why)
        if self._place is not None:
            with suppress(OSError):
                scrape.end(self._place, worker, pid)

    def hangs(self, worker: str) -> None:
        text = "Processes that gave no sign of life for 30 s and were killed"
        self._metrics.count("postane_worker_hangs", text, of=worker)

    def reloaded(self, how: str) -> None:
        """`how`: done, or refused."""
        self._metrics.count("postane_reloads", "Reloads of the configuration", how=how)

    def write(self) -> None:
        if self._showing is not None:
            self._showing.write()


def _look_at_process(metrics: Metrics) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    metrics.total("postane_cpu_seconds", "Processor time, user and system", used.ru_utime + used.ru_stime)
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        metrics.gauge("postane_memory_octets", "Resident memory, with what is shared", pages * _PAGE)
