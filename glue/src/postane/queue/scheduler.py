"""All jobs of the queue: those whose time has not come, in a heap, and those that are ready, in two pools.

Local mailboxes have a pool of their own, so that no crowd of slow foreign servers ever delays them.
Pure: each call is told the time. Each costs O(log n).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random

from postane.config.model import Queue
from postane.core.outcome import Fate, Outcome
from postane.queue.fair import Pool
from postane.queue.job import Job, State
from postane.queue.schedule import Kind, Schedule, kind_of
from postane.queue.window import Window


class Scheduler:
    """Decides which job runs next, and when one that failed may run again."""

    def __init__(self, settings: Queue, random: Random) -> None:
        self.schedule = Schedule(settings, random)
        self._local = Pool(settings.concurrency_local, settings.concurrency_local, local=True)
        self._remote = Pool(settings.concurrency, settings.concurrency_per_destination)
        self._waiting: list[tuple[float, int, int, Job]] = []  # heap: time, order of entry, ticket
        self._order = 0

    def _pool(self, job: Job) -> Pool:
        return self._local if job.local else self._remote

    def window(self, job: Job) -> Window:
        return self._pool(job).window(job.destination)

    # -- in ---------------------------------------------------------------------------------------------------------

    def add(self, job: Job, now: float, when: float = 0.0, *, fresh: bool = False) -> None:
        """The job is to run at `when`, at once if that has passed. `fresh`: it has never been tried."""
        # One that is further away was written down when the clock was ahead.
        when = job.when = min(when, now + self.schedule.longest_wait(local=job.local))
        pool = self._pool(job)
        # A job whose destination is closed waits in its lane: it may go as soon as any trial has gone well.
        if when > now and when != pool.window(job.destination).closed_until:
            job.state = State.WAITING
            job.ticket += 1
            self._order += 1
            heappush(self._waiting, (when, self._order, job.ticket, job))
            return
        pool.push(job)
        if fresh:
            pool.hurry(job.destination, self.schedule.first_wait(local=job.local), now)

    def remove(self, job: Job, state: State) -> None:
        """Takes a job that does not run out of the order, into `state` (HELD, GONE)."""
        if job.state is State.READY:
            self._pool(job).discard(job)
        job.state = state
        job.ticket += 1

    def hasten(self, job: Job, now: float) -> None:
        """Runs a job that waits as soon as its turn comes, on a destination that is given a trial."""
        if job.state is State.WAITING:
            self.add(job, now)
        self._pool(job).reopen(job.destination, now)

    # -- out --------------------------------------------------------------------------------------------------------

    def next(self, now: float) -> Job | None:
        """A job to start now; `ended` must follow."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            _, _, ticket, job = heappop(waiting)
            if job.ticket == ticket and job.state is State.WAITING:
                job.when = 0.0
                self._pool(job).push(job)
        return self._local.pop(now) or self._remote.pop(now)

    def ended(self, job: Job, outcomes: Sequence[Outcome], now: float) -> float:
        """The job's attempt is over: the destination's window learns from it.

        Returns when the rest of it is to be tried again (0.0: nothing is left). The job is not yet scheduled:
        the caller records the outcome first, then calls `add`.
        """
        job.attempts += 1
        pool = self._pool(job)
        window = pool.window(job.destination)
        delayed = [outcome for outcome in outcomes if outcome.fate is Fate.DELAYED]
        kinds = [kind_of(outcome) for outcome in delayed]
        when = 0.0
        if delayed and len(delayed) == len(outcomes) and Kind.UNREACHABLE in kinds:
            why = delayed[kinds.index(Kind.UNREACHABLE)]
            window.unreachable(now, self.schedule.wait(window.failures + 1, local=job.local), why)
            # It is the destination's fault: the message is due as soon as the destination is tried.
            when = window.closed_until
        elif delayed and len(delayed) == len(outcomes) and all(kind is Kind.BUSY for kind in kinds):
            window.paused(now, self.schedule.wait(window.pauses + 1, Kind.BUSY, local=job.local), delayed[0])
            when = window.closed_until
        elif delayed:
            if Kind.BUSY in kinds:
                window.busy()
            when = now + min(self.schedule.wait(job.attempts, kind, local=job.local) for kind in kinds)
            if Kind.RECIPIENTS in kinds and len(delayed) < len(outcomes):
                # The server took as many as it takes at once: the others are the next transaction, not a failure.
                when = now
        else:
            window.succeeded()
        pool.release(job, now)
        return when

    def next_time(self, now: float) -> float | None:
        """When something becomes due by itself; None if nothing will."""
        waiting = self._waiting
        while waiting and (waiting[0][3].ticket != waiting[0][2] or waiting[0][3].state is not State.WAITING):
            heappop(waiting)
        times = [self._local.next_time(now), self._remote.next_time(now)]
        if waiting:
            times.append(waiting[0][0])
        return min((time for time in times if time is not None), default=None)

    # -- seen from outside ------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        return self._local.active + self._remote.active

    def closed(self, now: float) -> dict[str, Window]:
        """Destinations that did not answer and wait for their next trial."""
        pools = (self._local, self._remote)
        return {name: window for pool in pools for name, window in pool.windows.items() if window.closed_until > now}
