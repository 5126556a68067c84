"""Keeps worker processes alive: starts them, replaces one that died or hangs, renews all on reload, drains on stop.

No event loop and no threads: a loop over one selector, so that forking is safe. Children are forked, not executed:
they share the interpreter's memory and the listening sockets.

    SIGTERM, SIGINT   stop: children drain, then go; a second one does not wait
    SIGHUP            reload: new children with the new configuration, then the old ones retire (SIGUSR1): they take
                      nothing new and let what they have come to its end
    a child dies      another takes its place at once, later and later if it keeps dying

A child says on its status pipe that it is ready and, every few seconds, that it is alive; it ends by itself when the
supervisor is gone (its end of the life pipe closes).
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from postane.core.errors import PostaneError
from postane.daemon.metrics import Ledger
from postane.observe.notify import Notifier

log = structlog.get_logger("supervisor")

READY = b"r"
ALIVE = b"."
RETIRE = signal.SIGUSR1  # not SIGHUP: a terminal that closes sends that to the whole group
_BEAT = 2.0  # seconds between signs of life
_SILENT = 30.0  # seconds without one after which a child is replaced
_RETIRED = 4  # so many generations may retire beside the present one; the oldest of more has to stop
_DIES_AT_START = 5  # so many deaths before the first "ready" end the whole


@dataclass(frozen=True)
class Pipes:
    """A child's ends: `status` to write READY and ALIVE to, `life` that reads end-of-file when the parent is gone."""

    status: int
    life: int


@dataclass(frozen=True)
class Job:
    """What a child does. `alone`: never two at a time, so a reload stops the old before it starts the new."""

    name: str
    run: Callable[[Pipes], None]
    alone: bool = False


@dataclass
class _Child:
    job: Job
    pid: int
    status: int
    generation: int
    ready: bool = False
    stopping: bool = False
    seen: float = field(default_factory=time.monotonic)


class Supervisor:
    """`make_jobs` is called at start and at each reload; it reads the configuration and may raise ConfigError."""

    def __init__(
        self,
        make_jobs: Callable[[], Sequence[Job]],
        *,
        drain_timeout: float,
        notifier: Notifier,
        on_ready: Callable[[], None] = lambda: None,
        ledger: Ledger | None = None,
    ) -> None:
        self._make_jobs = make_jobs
        self._drain_timeout = drain_timeout
        self._notifier = notifier
        self._on_ready = on_ready
        self._ledger = ledger or Ledger()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._generation = 0
        self._jobs: list[Job] = []
        self._missing: list[tuple[float, Job]] = []
        self._deaths = 0
        self._was_ready = False
        self._stop_at = 0.0
        self._failed = False

    def run(self) -> int:
        """Until it is told to stop. Returns the exit code: 0, or 70 if the children could not be started."""
        self._life, self._life_held = os.pipe2(os.O_CLOEXEC)
        self._signals, signals_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(signals_in, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._jobs = list(self._make_jobs())
        self._ledger.begin(job.name for job in self._jobs)
        gc.collect()
        gc.freeze()  # what is there now is never collected in the children: their pages stay shared
        for job in self._jobs:
            self._start(job)
        beat = 0.0
        while self._children or (self._missing and not self._stop_at):
            for key, _ in self._selector.select(0.5 if not self._missing else 0.05):
                if key.fd == self._signals:
                    self._take_signals()
                else:
                    self._hear(key.fd)
            self._bury()
            self._replace()
            now = time.monotonic()
            if now - beat > _BEAT:
                beat = now
                self._check()
        return 70 if self._failed else 0

    # -- starting and stopping ------------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        status, child_status = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(job, Pipes(child_status, self._life), status)
        os.close(child_status)
        self._children[status] = _Child(job, pid, status, self._generation)
        self._selector.register(status, selectors.EVENT_READ)

    def _become(self, job: Job, pipes: Pipes, status: int) -> None:
        """In the child: forget what is the parent's, run, and never return into the parent's code."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload is the supervisor's matter
            self._selector.close()
            os.close(self._life_held)
            os.close(status)
            for child in self._children.values():
                os.close(child.status)
            job.run(pipes)
            code = 0
        except PostaneError as error:
            log.error("worker_failed", worker=job.name, reason=str(error), hint=error.hint)
            code = error.exit_code
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _take_signals(self) -> None:
        for number in os.read(self._signals, 64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop()
            elif number == signal.SIGHUP and not self._stop_at:
                self._reload()

    def _stop(self) -> None:
        if self._stop_at:
            self._kill_all(signal.SIGKILL)
            return
        self._notifier.stopping()
        log.info("stopping", workers=len(self._children))
        self._stop_at = time.monotonic() + self._drain_timeout
        self._missing = []
        self._kill_all(signal.SIGTERM)

    def _kill_all(self, number: signal.Signals) -> None:
        for child in self._children.values():
            self._tell(child, number)

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            jobs = list(self._make_jobs())
        except Exception as error:  # whatever is wrong with the new, the old goes on
            reason = str(error) if isinstance(error, PostaneError) else repr(error)
            log.error("reload_refused", reason=reason)
            self._ledger.reloaded("refused")
            self._notifier.ready()
            return
        log.info("reloading")
        self._ledger.reloaded("done")
        self._generation += 1
        self._jobs = jobs
        self._missing = []  # whom they would replace is of yesterday
        old = [child for child in self._children.values() if not child.stopping]
        alone = {job.name for job in jobs if job.alone}
        for child in old:
            if child.job.name in alone:
                self._tell(child, signal.SIGTERM)
        for job in jobs:
            if job.alone:
                self._missing.append((time.monotonic(), job))
            else:
                self._start(job)

    def _tell(self, child: _Child, number: signal.Signals) -> None:
        child.stopping = True
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)

    # -- watching -------------------------------------------------------------------------------------------------

    def _hear(self, status: int) -> None:
        child = self._children.get(status)
        if child is None:
            return
        said = os.read(status, 4096)
        if not said:  # its end is closed: it is dying; the wait tells how
            self._selector.unregister(status)
            return
        child.seen = time.monotonic()
        if READY in said and not child.ready:
            child.ready = True
            self._when_ready()

    def _when_ready(self) -> None:
        current = [c for c in self._children.values() if c.generation == self._generation and not c.stopping]
        if self._missing or not all(child.ready for child in current) or len(current) < len(self._jobs):
            return
        self._deaths = 0
        for child in self._children.values():
            if child.generation < self._generation - _RETIRED:
                self._tell(child, signal.SIGTERM)
            elif child.generation < self._generation and not child.stopping:
                self._tell(child, RETIRE)
        self._notifier.ready()
        if not self._was_ready:
            self._was_ready = True
            log.info("ready", workers=len(current))
            self._on_ready()

    def _bury(self) -> None:
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            with suppress(KeyError):
                self._selector.unregister(child.status)
            os.close(child.status)
            del self._children[child.status]
            told = child.stopping or bool(self._stop_at)
            self._ledger.ended(child.job.name, child.pid, "stopped" if told else "died")
            if told:
                continue
            code = os.waitstatus_to_exitcode(status)
            log.error("worker_died", worker=child.job.name, pid=child.pid, code=code)
            self._deaths += 1
            if not self._was_ready and (code in (69, 77, 78) or self._deaths >= _DIES_AT_START):
                self._failed = True
                self._stop()
                return
            if child.generation == self._generation:
                wait = 0.0 if self._deaths < 3 else min(0.1 * 2 ** (self._deaths - 3), 10.0)
                self._missing.append((time.monotonic() + wait, child.job))

    def _replace(self) -> None:
        if self._stop_at:
            return
        now = time.monotonic()
        for item in [item for item in self._missing if item[0] <= now]:
            job = item[1]
            if job.alone and any(child.job.name == job.name for child in self._children.values()):
                continue  # the old one still drains
            self._missing.remove(item)
            self._start(job)

    def _check(self) -> None:
        now = time.monotonic()
        self._notifier.watchdog()
        self._ledger.write()
        for child in self._children.values():
            if now - child.seen > _SILENT and not child.stopping:
                self._ledger.hangs(child.job.name)
                log.error("worker_hangs", worker=child.job.name, pid=child.pid, silent=round(now - child.seen))
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
        if self._stop_at and now > self._stop_at:
            log.warning("drain_timeout", workers=len(self._children))
            self._kill_all(signal.SIGKILL)
