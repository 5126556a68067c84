"""Whose message is next: in turn between tenants, between a tenant's domains, between a domain's destinations. Pure.

    Pool → ring of tenants → ring of domains → ring of lanes (one a destination) → jobs, first in, first out

A ring holds only what can be served; whatever is stopped leaves it and is put back by the event that frees it, so
each step costs the same with ten messages and with a hundred thousand:
a lane whose destination is full or closed waits at the Window; a tenant that has its share of the pool waits too.

The share: a tenant may have at most SHARE times as many deliveries under way as there are free ones (the dynamic
threshold of shared-memory switches). One tenant alone gets two thirds of the pool, and whoever comes next always finds
room, even if the first one's million mails all go to servers that let us wait.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from postane.queue.job import Job, State
from postane.queue.window import Window

SHARE = 2
_WINDOWS_KEPT = 10_000  # remembered destinations before those of no use are forgotten


class _Lane:
    """Jobs in a chain through themselves: one that is held leaves at once, and a lane of one job is small."""

    __slots__ = ("domain", "first", "last", "name", "ringed", "window")

    def __init__(self, name: str, domain: _Domain, window: Window) -> None:
        self.name = name
        self.domain = domain
        self.window = window
        self.first: Job | None = None
        self.last: Job | None = None
        self.ringed = False  # in its domain's ring or in the line at the window

    def append(self, job: Job) -> None:
        job.before, job.after = self.last, None
        if self.last is None:
            self.first = job
        else:
            self.last.after = job
        self.last = job

    def remove(self, job: Job) -> None:
        if job.before is None:
            self.first = job.after
        else:
            job.before.after = job.after
        if job.after is None:
            self.last = job.before
        else:
            job.after.before = job.before
        job.before = job.after = None


class _Domain:
    __slots__ = ("lanes", "name", "ring", "ringed", "tenant")

    def __init__(self, name: str, tenant: _Tenant) -> None:
        self.name = name
        self.tenant = tenant
        self.lanes: dict[str, _Lane] = {}
        self.ring: deque[_Lane] = deque()
        self.ringed = False


class _Tenant:
    __slots__ = ("active", "domains", "name", "ring", "ringed")

    def __init__(self, name: str) -> None:
        self.name = name
        self.active = 0
        self.domains: dict[str, _Domain] = {}
        self.ring: deque[_Domain] = deque()
        self.ringed = False  # in the pool's ring or among those that have their share


class Pool:
    """Jobs that are ready, for a kind of destination (local or remote) with `total` deliveries at once."""

    def __init__(self, total: int, most: int, *, local: bool = False) -> None:
        """`most`: deliveries at once to one destination."""
        self.total = total
        self.active = 0
        self.windows: dict[str, Window] = {}
        self._most = most
        self._forget_at = _WINDOWS_KEPT
        self._local = local
        self._tenants: dict[str, _Tenant] = {}
        self._ring: deque[_Tenant] = deque()
        self._sated: deque[_Tenant] = deque()  # tenants that have their share
        self._lines: dict[str, deque[_Lane]] = {}  # lanes that wait for their window
        self._closed: list[tuple[float, str]] = []  # heap of windows by the time of their next trial

    # -- in ---------------------------------------------------------------------------------------------------------

    def push(self, job: Job) -> None:
        """The job waits for its turn at the end of its lane."""
        job.state = State.READY
        lane = self._lane(job)
        lane.append(job)
        if not lane.ringed:
            lane.ringed = True
            self._enter(lane)

    def discard(self, job: Job) -> None:
        """Takes out a job that is ready. An empty lane goes when its turn comes."""
        self._lane(job).remove(job)

    def window(self, name: str) -> Window:
        window = self.windows.get(name)
        if window is None:
            if len(self.windows) >= self._forget_at:
                self._forget()
            window = self.windows[name] = Window(name, self._most, local=self._local)
        return window

    def _lane(self, job: Job) -> _Lane:
        tenant = self._tenants.get(job.tenant)
        if tenant is None:
            tenant = self._tenants[job.tenant] = _Tenant(job.tenant)
        domain = tenant.domains.get(job.domain)
        if domain is None:
            domain = tenant.domains[job.domain] = _Domain(job.domain, tenant)
        lane = domain.lanes.get(job.destination)
        if lane is None:
            lane = domain.lanes[job.destination] = _Lane(job.destination, domain, self.window(job.destination))
        return lane

    def _enter(self, lane: _Lane) -> None:
        """Puts a lane, and what stands above it, into the rings."""
        domain, tenant = lane.domain, lane.domain.tenant
        domain.ring.append(lane)
        if not domain.ringed:
            domain.ringed = True
            tenant.ring.append(domain)
        if not tenant.ringed:
            tenant.ringed = True
            self._ring.append(tenant)

    # -- out --------------------------------------------------------------------------------------------------------

    def pop(self, now: float) -> Job | None:
        """The next job that can start now; it counts as running until `release`."""
        self._open_due(now)
        while self._ring and self.active < self.total:
            tenant = self._ring.popleft()
            if not self._local and tenant.active >= SHARE * (self.total - self.active):
                self._sated.append(tenant)
                continue
            job = self._pop_tenant(tenant, now)
            if job is not None:
                tenant.active += 1
            if tenant.ring:
                self._ring.append(tenant)
            else:
                tenant.ringed = False
                self._tidy_tenant(tenant)
            if job is not None:
                job.state = State.RUNNING
                self.active += 1
                return job
        return None

    def _pop_tenant(self, tenant: _Tenant, now: float) -> Job | None:
        while tenant.ring:
            domain = tenant.ring.popleft()
            job = self._pop_domain(domain, now)
            if domain.ring:
                tenant.ring.append(domain)
            else:
                domain.ringed = False
                if not domain.lanes:
                    del tenant.domains[domain.name]
            if job is not None:
                return job
        return None

    def _pop_domain(self, domain: _Domain, now: float) -> Job | None:
        while domain.ring:
            lane = domain.ring.popleft()
            job, window = lane.first, lane.window
            if job is None:
                self._drop_lane(lane)
                # It was called because there was room: the call goes on to whoever waits behind it.
                self._call(window, now)
                continue
            if not window.is_open(now):
                self._lines.setdefault(window.name, deque()).append(lane)
                continue
            lane.remove(job)
            window.active += 1
            if lane.first is not None:
                domain.ring.append(lane)
            else:
                self._drop_lane(lane)
            return job
        return None

    def _drop_lane(self, lane: _Lane) -> None:
        lane.ringed = False
        del lane.domain.lanes[lane.name]

    def _tidy_tenant(self, tenant: _Tenant) -> None:
        if not tenant.domains and not tenant.active and not tenant.ringed:
            self._tenants.pop(tenant.name, None)

    # -- events -----------------------------------------------------------------------------------------------------

    def release(self, job: Job, now: float) -> None:
        """A job that `pop` gave has ended; tell its window how it went before this."""
        self.active -= 1
        window = self.window(job.destination)
        window.active -= 1
        tenant = self._tenants[job.tenant]
        tenant.active -= 1
        if self._sated:
            # Its own release lets a tenant go on at the latest; the others are asked in turn.
            if tenant in self._sated:
                self._sated.remove(tenant)
                self._ring.append(tenant)
            if self._sated:
                self._ring.append(self._sated.popleft())
        self._tidy_tenant(tenant)
        self._call(window, now)
        if window.closed_until > now:
            heappush(self._closed, (window.closed_until, window.name))

    def hurry(self, name: str, first_wait: float, now: float) -> None:
        """New mail for a closed destination brings its next trial forward."""
        window = self.windows.get(name)
        if window is not None and window.closed_until > now and window.hurry(first_wait):
            heappush(self._closed, (window.closed_until, name))

    def reopen(self, name: str, now: float) -> None:
        window = self.windows.get(name)
        if window is not None:
            window.reopen()
            self._call(window, now)

    def next_time(self, now: float) -> float | None:
        """When a closed destination is due for a trial."""
        while self._closed:
            when, name = self._closed[0]
            window = self.windows.get(name)
            if window is not None and window.closed_until == when and self._lines.get(name):
                return when
            if when > now and window is not None and window.closed_until == when:
                return when
            heappop(self._closed)
        return None

    def _open_due(self, now: float) -> None:
        while self._closed and self._closed[0][0] <= now:
            _, name = heappop(self._closed)
            window = self.windows.get(name)
            if window is not None:
                self._call(window, now)

    def _call(self, window: Window, now: float) -> None:
        """Puts as many of the lanes that wait for a window back into the rings as it has room for."""
        line = self._lines.get(window.name)
        if not line or now < window.closed_until:
            return
        for _ in range(min(len(line), window.limit - window.active)):
            self._enter(line.popleft())
        if not line:
            del self._lines[window.name]

    def _forget(self) -> None:
        used: set[str] = set(self._lines)
        for tenant in self._tenants.values():
            for domain in tenant.domains.values():
                used.update(domain.lanes)
        for name, window in list(self.windows.items()):
            if window.active == 0 and name not in used:
                del self.windows[name]
        self._forget_at = max(_WINDOWS_KEPT, 2 * len(self.windows))
