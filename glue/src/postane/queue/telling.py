"""What the sender is told of a message in the queue: each thing once, also through a crash.

A notice is put into the spool before its recipients are recorded as told; a crash in between may tell twice,
never not at all. Whatever breaks here leaves the notice owed, and the message in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from postane.core.envelope import Recipient
from postane.core.errors import PostaneError
from postane.core.outcome import Action, Fate, Outcome, Progress, Tried
from postane.core.ports import Notices, QueueStore, Routes
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.queue.job import Entry

log = get_logger("queue")

Record = Callable[[Entry, Progress], None]


class Teller:
    """Sends notices. `record` notes an update of a message in memory and in the spool."""

    def __init__(self, store: QueueStore, routes: Routes, notices: Notices, metrics: Metrics, record: Record) -> None:
        self._store = store
        self._routes = routes
        self._notices = notices
        self._metrics = metrics
        self._record = record

    def owes(self, entry: Entry, outcome: Outcome, recipient: Recipient, *, local: bool) -> bool:
        """True if the sender is to be told of a final outcome."""
        action = action_of(outcome, local=local)
        envelope = entry.message.envelope
        if action is Action.FAILED and not envelope.sender:
            log.warning("no bounce of a bounce", trace_id=entry.id, to=recipient.address)
        return action is not None and self._notices.owed(action, envelope, recipient)

    async def settle(self, entry: Entry) -> bool:
        """Tells all that is owed about final outcomes. False: it could not be done now, or another is at it."""
        if entry.telling:
            return False  # whoever is at it looks again when done
        entry.telling = True
        try:
            # Two jobs of a message may fail together: what comes while a notice is made is told by the next round.
            while untold := untold_of(entry):
                await self._tell(entry, untold)
                self._record(entry, Progress({address: replace(t, told=True) for address, t in untold.items()}))
        except Exception as error:
            _owed(entry, error)
            return False
        finally:
            entry.telling = False
        return True

    async def warn(self, entry: Entry, last_words: Sequence[tuple[Recipient, Outcome]]) -> bool:
        """Tells of the delay. False: it could not be done now."""
        envelope = entry.message.envelope
        about = [(r, outcome) for r, outcome in last_words if self._notices.owed(Action.DELAYED, envelope, r)]
        try:
            if about:
                await self._put(entry, Action.DELAYED, about)
        except Exception as error:
            _owed(entry, error)
            return False
        self._record(entry, Progress(warned=True))
        return True

    async def _tell(self, entry: Entry, untold: dict[str, Tried]) -> None:
        groups: dict[Action, list[tuple[Recipient, Outcome]]] = {}
        for recipient in {r.address: r for r in entry.message.envelope.recipients}.values():
            tried = untold.get(recipient.address)
            if tried is None:
                continue
            local = self._routes.destination(recipient).local
            action = action_of(tried.outcome, local=local)
            if action is not None and self._notices.owed(action, entry.message.envelope, recipient):
                groups.setdefault(action, []).append((recipient, tried.outcome))
        for action, about in groups.items():
            await self._put(entry, action, about)

    async def _put(self, entry: Entry, action: Action, about: Sequence[tuple[Recipient, Outcome]]) -> None:
        new_id = self._store.new_id()
        notice = await self._notices.make(action, entry.message, about, new_id=new_id, until=entry.expires_at)
        if notice is None:
            return
        await self._store.put(notice.envelope, notice.head, notice.body)
        log.info("notice sent", trace_id=entry.id, notice=new_id, action=action.value, to=entry.message.envelope.sender)
        self._metrics.count("postane_notices", "Delivery status notifications sent", action=action.value)


def untold_of(entry: Entry) -> dict[str, Tried]:
    """Recipients with a final outcome that the sender does not know of yet."""
    return {address: t for address, t in entry.progress.recipients.items() if t.outcome.final and not t.told}


def action_of(outcome: Outcome, *, local: bool) -> Action | None:
    """What there is to tell of a final outcome. A remote server that took the DSN request tells by itself."""
    if outcome.fate is Fate.FAILED:
        return Action.FAILED
    if outcome.fate is Fate.RELAYED:
        return Action.RELAYED
    return Action.DELIVERED if outcome.fate is Fate.DELIVERED and local else None


def _owed(entry: Entry, error: Exception) -> None:
    # What is expected has its sentence; what is not, its traceback.
    known = isinstance(error, PostaneError)
    log.warning("notice is owed and delayed", trace_id=entry.id, reason=str(error), exc_info=not known)
