"""Sees when a worker's event loop stands still, says where, and frees it of a filter that blocks it.

A filter that calls time.sleep, or computes for long, holds up every session of its worker. A thread sees that: after
two seconds it writes the place to the log; after five it has an exception raised in the filter, by a signal whose
handler runs in the main thread and looks whether a filter is what runs. The filter has failed then, and its failure
policy decides. What blocks elsewhere is left alone: the supervisor replaces a worker that is silent for 30 s.
A filter that blocks in a call of C which looks at no signals ends that way too.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import structlog

from postane.filters.begun import Begun
from postane.observe.metrics import Metrics

log = structlog.get_logger("watchdog")

TOLD = 2.0  # seconds without a turn of the loop
INTERRUPTED = 5.0
_BEAT = 0.5
_SIGNAL = signal.SIGUSR2
_PLACES = 3  # frames that the log names

_FILTER_CALLS = (Begun._step.__code__,)


class BlockedError(Exception):
    """Raised inside a filter that lets nobody else run."""


class Watchdog:
    """For the process's main thread, in which the loop runs."""

    def __init__(self, metrics: Metrics, told: float = TOLD, interrupted: float = INTERRUPTED) -> None:
        self._told, self._interrupted = told, interrupted
        self._main = threading.main_thread()
        self._seen = time.monotonic()
        self._blocked = 0
        self._longest = 0.0
        self._ends = threading.Event()
        metrics.watch(lambda: self._look(metrics))

    async def run(self) -> None:
        """Until it is cancelled."""
        before = signal.signal(_SIGNAL, self._interrupt)
        self._seen = time.monotonic()
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                await asyncio.sleep(_BEAT)
                now = time.monotonic()
                self._longest = max(self._longest, now - self._seen - _BEAT)
                self._seen = now
        finally:
            self._ends.set()
            thread.join()
            signal.signal(_SIGNAL, before)

    def _look(self, metrics: Metrics) -> None:
        metrics.total("postane_loop_blocked", "Times that the event loop stood still for 2 s", self._blocked)
        text = "Longest time that the event loop stood still since the last reading"
        metrics.gauge("postane_loop_longest_block_seconds", text, self._longest)
        self._longest = 0.0

    # -- in the thread --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        told = False
        while not self._ends.wait(_BEAT):
            still = time.monotonic() - self._seen
            if still < self._told:
                told = False
            elif not told:
                told = True
                self._blocked += 1
                log.error("loop_blocked", seconds=round(still, 1), at=self._places())
            elif still >= self._interrupted:
                signal.pthread_kill(self._main.ident or 0, _SIGNAL)

    def _places(self) -> list[str]:
        frame = sys._current_frames().get(self._main.ident or 0)
        places: list[str] = []
        while frame is not None and len(places) < _PLACES:
            path = Path(frame.f_code.co_filename)
            places.append(f"{path.parent.name}/{path.name}:{frame.f_lineno} {frame.f_code.co_name}")
            frame = frame.f_back
        return places

    # -- in the main thread, between two instructions of whatever runs ----------------------------------------------

    def _interrupt(self, _number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._seen < self._interrupted:
            return  # it turns again
        inner = frame
        while frame is not None:
            if frame.f_code in _FILTER_CALLS:
                if frame is not inner:
                    raise BlockedError("it let nobody else run")
                return
            frame = frame.f_back
