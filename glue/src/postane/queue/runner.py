"""The queue's loop: what the spool gives out is tried, recorded, and tried again until nothing is owed to anybody.

    poll → Entry → a Job for each destination → Routes.deliver → record → notice → retry, or finish

The order of steps is what makes a crash harmless: an outcome is recorded before its retry is scheduled, a notice is
durable before its recipient counts as told, a message is finished after both. A crash in between repeats a step;
it never forgets one. What was delivered but not yet synced when the process died is delivered again.

Everything that decides is in `scheduler` and `schedule`; what is here waits and calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from random import SystemRandom
from sys import intern

from postane.config.model import Queue
from postane.core.envelope import Recipient
from postane.core.errors import CorruptSpoolError, PostaneError, TemporaryError
from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.ports import Claimed, Notices, Now, QueueStore, Routes
from postane.core.reply import Reply
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.observe.tasks import Tasks
from postane.queue.ends import Ends
from postane.queue.job import Entry, Job, State
from postane.queue.scheduler import Scheduler
from postane.queue.shared import Shared
from postane.queue.telling import Teller, untold_of

log = get_logger("queue")

POLL_SECONDS = 1.0  # at least this often the spool is looked at, even if no worker calls
NOTICE_RETRY = 60.0  # until a notice that could not be made or kept is tried again
SYNC_RETRY = 5.0
_AT_ONCE = 1000  # messages taken in one turn of the event loop

_OPERATOR = Reply(554, "5.7.0", "Removed from the queue by the operator")
_INTERNAL = Reply(451, "4.3.0", "Internal error; the message is kept")


class QueueRunner:
    """Owns the queue of one host. `run` until `stop`; then `drain`."""

    def __init__(
        self,
        store: QueueStore,
        routes: Routes,
        notices: Notices,
        settings: Queue,
        *,
        now: Now = time.time,
        scheduler: Scheduler | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.entries: dict[str, Entry] = {}
        self.scheduler = scheduler or Scheduler(settings, SystemRandom())
        self.now = now
        self._store = store
        self._routes = routes
        self._metrics = metrics or Metrics()
        self._teller = Teller(store, routes, notices, self._metrics, self._record)
        self._shared = Shared()
        self._deadlines: list[tuple[float, str]] = []  # heap of times and message ids
        self._first = True
        self._attempts = Tasks()
        self._helpers = Tasks(self._helper_ended)
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._dirty = asyncio.Event()
        self._ends = Ends(self._metrics)
        self._news = True
        self._stopping = False
        self._sleeps_until = 0.0

    @property
    def all_read(self) -> bool:
        """The spool was read once: all that lives from before is in `entries`."""
        return not self._first

    # -- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until `stop`. Raises what the spool raises where it cannot be read any more."""
        self._helpers.start("queue-watch", self._watch())
        self._helpers.start("queue-sync", self._keep_synced())
        while not self._stopping:
            self._wake.clear()
            if self._news:
                self._news = False
                await self._look()
            self._dispatch()
            await self._sleep()
            if self._failure is not None:
                raise self._failure

    def _helper_ended(self, name: str, error: BaseException) -> None:
        # Without these two the queue would look alive and do nothing: better that the process ends and is replaced.
        if name in ("queue-watch", "queue-sync"):
            self._failure = error
            self._wake.set()

    async def _sleep(self) -> None:
        now = self.now()
        times = [self.scheduler.next_time(now)]
        if self._deadlines:
            times.append(self._deadlines[0][0])
        self._sleeps_until = min([time for time in times if time is not None], default=now + 3600)
        try:
            async with asyncio.timeout(max(0.0, self._sleeps_until - now)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _watch(self) -> None:
        while True:
            await self._store.wait(POLL_SECONDS)
            self._news = True
            self._wake.set()

    async def _keep_synced(self) -> None:
        """One sync after another while there is something to sync: all that came meanwhile share the next one."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not await self._sync():
                await asyncio.sleep(SYNC_RETRY)
                self._dirty.set()

    async def _sync(self) -> bool:
        try:
            await self._store.sync()
        except PostaneError as error:
            # Memory knows what the disk does not: the queue goes on, and the records are tried again.
            log.error("records cannot be synced", reason=str(error))
            return False
        return True

    def stop(self) -> None:
        """No new attempt starts; `run` returns."""
        self._stopping = True
        self._wake.set()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 - a drain has a deadline by nature
        """After `stop`: waits for attempts under way, then brings the records to the disk. False: some were cut off."""
        done = await self._attempts.drain(timeout)
        await self._attempts.close()
        await self._helpers.close()
        await self._sync()
        await self._routes.close()
        self._ends.write()
        return done

    # -- messages come ----------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Takes what is new in the spool, a crowd in parts: what does not start at once is kept small."""
        while len(messages := self._store.poll(_AT_ONCE)) == _AT_ONCE:
            for message in messages:
                self.take(message)
            self._dispatch()
            for message in messages:
                entry = self.entries.get(message.id)
                if entry is not None and all(job.state is not State.RUNNING for job in entry.jobs):
                    message.rest()
            await asyncio.sleep(0)
        for message in messages:
            self.take(message)
        if self._first:
            self._first = False
            self._ends.count_doubts(sum(entry.message.doubtful for entry in self.entries.values()))

    def take(self, message: Claimed) -> None:
        """Puts a message of the spool into the order: new, or known from before a restart."""
        envelope, progress = message.envelope, message.progress
        if progress.recipients:
            addresses = {recipient.address: recipient.address for recipient in envelope.recipients}
            progress = message.progress = self._shared.progress(progress, addresses)
        entry = Entry(message, envelope.received_at, self.scheduler.schedule.expires_at(envelope))
        self.entries[message.id] = entry
        groups: dict[tuple[str, bool], list[Recipient]] = {}
        owed = False
        for recipient in envelope.recipients:
            tried = progress.recipients.get(recipient.address)
            if tried is not None and tried.outcome.final:
                owed = owed or not tried.told
                continue
            destination = self._routes.destination(recipient)
            group = groups.setdefault((destination.name, destination.local), [])
            # Two aliases may have led to one mailbox: it gets the message once.
            if all(other.address != recipient.address for other in group):
                group.append(recipient)
        now = self.now()
        for (name, local), recipients in groups.items():
            self._add_job(entry, name, local, recipients, now)
        if owed:
            self._helpers.start(f"notices {entry.id}", self._tell(entry))
        elif not groups:
            self._finish_if_done(entry)
            return
        if envelope.sender and not progress.warned:
            self._remind(entry, min(self.scheduler.schedule.warns_at(envelope), entry.expires_at))
        else:
            self._remind(entry, entry.expires_at)

    def _add_job(self, entry: Entry, name: str, local: bool, recipients: list[Recipient], now: float) -> None:
        envelope = entry.message.envelope
        tried = [t for r in recipients if (t := entry.progress.recipients.get(r.address)) is not None]
        side = recipients[0].address if local else envelope.sender
        job = Job(
            entry,
            # A hundred thousand jobs share the names of a few domains.
            tenant=intern(envelope.tenant),
            domain=intern(side.rpartition("@")[2]),
            destination=intern(name),
            local=local,
            recipients=tuple(recipients),
            attempts=max((t.attempts for t in tried), default=0),
        )
        entry.jobs.append(job)
        if entry.held:
            job.state = State.HELD
        else:
            self.scheduler.add(job, now, max((t.next_attempt for t in tried), default=0.0), fresh=not tried)

    # -- attempts ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Starts all that may start now."""
        now = self.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, message_id = heappop(self._deadlines)
            if (entry := self.entries.get(message_id)) is not None:
                self._helpers.start(f"deadline {message_id}", self._deadline(entry))
        if self._stopping:
            return
        while (job := self.scheduler.next(now)) is not None:
            self._attempts.start(f"deliver {job.entry.id} {job.destination}", self._attempt(job))

    async def _attempt(self, job: Job) -> None:
        began = time.monotonic()
        entry = job.entry
        corrupt = False
        try:
            self._store.begin(entry.id)
            outcomes = await self._routes.deliver(entry.message, job.recipients)
            if [o.recipient for o in outcomes] != [r.address for r in job.recipients]:
                raise ValueError("the transport answered for other recipients than it was given")
        except CorruptSpoolError as error:
            log.error("message is damaged and held", trace_id=entry.id, reason=str(error))
            corrupt = True
            outcomes = _all(job, Reply(451, "4.3.0", "The spooled message is damaged; it is held for the operator"))
        except TemporaryError as error:
            log.warning("message cannot be read", trace_id=entry.id, reason=str(error))
            outcomes = _all(job, _INTERNAL)
        except Exception:  # a fault of ours delays one message; it must not stop the queue or bounce mail
            log.error("delivery broke", trace_id=entry.id, destination=job.destination, exc_info=True)
            outcomes = _all(job, _INTERNAL)
        now = self.now()
        when = self.scheduler.ended(job, outcomes, now)
        if corrupt:
            self._record(entry, Progress(held=True))
        self._log(job, outcomes, time.monotonic() - began, when)
        await self._settle(job, outcomes, when)
        entry.message.rest()
        self._dispatch()
        if (due := self.scheduler.next_time(now)) is not None and due < self._sleeps_until:
            self._wake.set()

    async def _settle(self, job: Job, outcomes: Sequence[Outcome], when: float) -> None:
        """Records what an attempt came to, then lets happen what follows from it."""
        entry = job.entry
        if job.state is State.GONE:  # dropped by the operator while it ran
            outcomes = [o if o.final else replace(o, fate=Fate.FAILED, reply=_OPERATOR) for o in outcomes]
            told = True
        else:
            told = False
            if not entry.held and entry.expires_at <= self.now():
                outcomes = [o if o.final else expired(o) for o in outcomes]
        served = job.recipients
        job.recipients = tuple(r for r, outcome in zip(served, outcomes, strict=True) if not outcome.final)
        await self._conclude(job, served, outcomes, when=when, told=told)
        if job.recipients and job.state is State.GONE:  # dropped while the record went to the disk
            served, job.recipients = job.recipients, ()
            outcomes = [Outcome(r.address, Fate.FAILED, _OPERATOR) for r in served]
            await self._conclude(job, served, outcomes, told=True)
        if not job.recipients:
            if job in entry.jobs:
                entry.jobs.remove(job)
        elif entry.held:
            job.state = State.HELD
        else:
            self.scheduler.add(job, self.now(), when)
        self._finish_if_done(entry)

    async def _conclude(
        self,
        job: Job,
        recipients: Sequence[Recipient],
        outcomes: Sequence[Outcome],
        *,
        when: float = 0.0,
        told: bool,
    ) -> None:
        """Records one outcome for each recipient, and tells the sender what is to be told."""
        entry = job.entry
        update: dict[str, Tried] = {}
        owed = delayed = False
        for recipient, outcome in zip(recipients, outcomes, strict=True):
            if not outcome.final:
                delayed = True
                update[recipient.address] = Tried(self._shared.outcome(outcome, recipient.address), job.attempts, when)
                continue
            owes = not told and self._teller.owes(entry, outcome, recipient, local=job.local)
            owed = owed or owes
            update[outcome.recipient] = Tried(outcome, job.attempts, told=not owes)
        before = entry.progress.recipients
        if not (owed or delayed) and entry.jobs == [job] and all(t.told for a, t in before.items() if a not in update):
            # The commonest end: finishing it says all that a record would.
            if before:
                entry.message.progress = entry.progress.merged(Progress(update))
            return
        self._record(entry, Progress(update))
        self._store.end(entry.id)
        if owed:
            await self._tell(entry)
        else:
            await self._sync()

    # -- deadlines ----------------------------------------------------------------------------------------------------

    async def _deadline(self, entry: Entry) -> None:
        """A message's time has come: a notice owed from before, a delay warning, or its end."""
        now = self.now()
        if untold_of(entry):
            await self._tell(entry)
        if entry.held or not entry.jobs:
            return
        if now >= entry.expires_at:
            await self._expire(entry)
        elif not entry.progress.warned and now >= self.scheduler.schedule.warns_at(entry.message.envelope):
            words = [(r, self.last_words(job, r)) for job in entry.jobs for r in job.recipients]
            warned = await self._teller.warn(entry, words)
            self._remind(entry, entry.expires_at if warned else self.now() + NOTICE_RETRY)

    async def _tell(self, entry: Entry) -> None:
        if not await self._teller.settle(entry):
            self._remind(entry, self.now() + NOTICE_RETRY)
        await self._sync()
        self._finish_if_done(entry)

    async def _expire(self, entry: Entry) -> None:
        # A job that runs now is left to end: `_settle` sees that the time is over.
        for job in [job for job in entry.jobs if job.state in (State.READY, State.WAITING)]:
            outcomes = [expired(self.last_words(job, recipient)) for recipient in job.recipients]
            self.scheduler.remove(job, State.GONE)
            entry.jobs.remove(job)
            self._log(job, outcomes, 0.0, 0.0)
            await self._conclude(job, job.recipients, outcomes, told=False)
        if entry.jobs:
            self._remind(entry, self.now() + NOTICE_RETRY)
        self._finish_if_done(entry)

    def last_words(self, job: Job, recipient: Recipient) -> Outcome:
        """What was last said about a recipient, or about its destination where its own turn has not come yet."""
        tried = job.entry.progress.recipients.get(recipient.address)
        if tried is not None:
            return tried.outcome
        last = self.scheduler.window(job).last
        if last is not None:
            return replace(last, recipient=recipient.address)
        reply = Reply(451, "4.4.7", "The message has waited for its turn")
        return Outcome(recipient.address, Fate.DELAYED, reply)

    # -- steering (see control) -------------------------------------------------------------------------------------

    def hold(self, entry: Entry) -> None:
        """No further attempt until `release`; one that runs is left to end."""
        self._record(entry, Progress(held=True))
        for job in entry.jobs:
            if job.state in (State.READY, State.WAITING):
                self.scheduler.remove(job, State.HELD)

    def release(self, entry: Entry) -> None:
        """Undoes `hold`; what was held is tried now."""
        self._record(entry, Progress(held=False))
        for job in entry.jobs:
            if job.state is State.HELD:
                self.scheduler.add(job, self.now())
                self.scheduler.hasten(job, self.now())
        self._remind(entry, entry.expires_at)
        self._wake.set()

    def retry(self, entry: Entry) -> None:
        """Tries now what waits, whatever its schedule says."""
        for job in entry.jobs:
            if job.state in (State.READY, State.WAITING):
                self.scheduler.hasten(job, self.now())
        self._wake.set()

    def drop(self, entry: Entry) -> None:
        """Forgets what is not delivered yet; nobody is told."""
        update: dict[str, Tried] = {}
        for job in list(entry.jobs):
            if job.state is State.RUNNING:
                job.state = State.GONE  # `_settle` ends it
                continue
            self.scheduler.remove(job, State.GONE)
            entry.jobs.remove(job)
            for recipient in job.recipients:
                outcome = Outcome(recipient.address, Fate.FAILED, _OPERATOR)
                update[recipient.address] = Tried(outcome, job.attempts, told=True)
        log.info("dropped by the operator", trace_id=entry.id, recipients=sorted(update))
        self._record(entry, Progress(update))
        self._finish_if_done(entry)

    async def synced(self) -> None:
        """What was steered is durable. Raises TemporaryError."""
        await self._store.sync()

    # -- small things -----------------------------------------------------------------------------------------------

    def _record(self, entry: Entry, update: Progress) -> None:
        if self.entries.get(entry.id) is not entry:
            return  # finished already
        entry.message.progress = entry.progress.merged(update)
        self._store.record(entry.id, update)
        self._dirty.set()

    def _finish_if_done(self, entry: Entry) -> None:
        if entry.jobs or self.entries.get(entry.id) is not entry:
            return
        if any(not t.told for t in entry.progress.recipients.values()):
            return
        del self.entries[entry.id]
        self._store.finish(entry.id)
        self._dirty.set()

    def _remind(self, entry: Entry, when: float) -> None:
        heappush(self._deadlines, (when, entry.id))
        # Most messages end long before their deadline: what they leave here is swept out now and then.
        if len(self._deadlines) > 2 * len(self.entries) + 1000:
            self._deadlines = [item for item in self._deadlines if item[1] in self.entries]
            heapify(self._deadlines)
        if when < self._sleeps_until:
            self._wake.set()

    def _log(self, job: Job, outcomes: Sequence[Outcome], seconds: float, when: float) -> None:
        self._ends.tell(job, outcomes, seconds=seconds, age=self.now() - job.entry.received_at, when=when)


def expired(last: Outcome) -> Outcome:
    """The final outcome of a recipient whose time is over: 4.4.7 (RFC 3463), with the words that were last heard."""
    return replace(last, fate=Fate.FAILED, reply=replace(last.reply, enhanced="4.4.7"))


def _all(job: Job, reply: Reply) -> list[Outcome]:
    return [Outcome.from_reply(recipient.address, reply) for recipient in job.recipients]
