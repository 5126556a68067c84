from __future__ import annotations

import asyncio

import pytest

from postane.bounce.notices import DsnNotices
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.outcome import Action, Fate, Outcome, Progress, Tried
from postane.core.ports import Resolved
from postane.core.reply import Reply
from postane.observe.metrics import Metrics
from postane.queue.job import Entry
from postane.queue.telling import Teller, action_of, untold_of
from support.queue import Doors, Mail, MemoryStore, any_mailbox

NO = Outcome("a@x.test", Fate.FAILED, Reply(550, "5.1.1", "No"), "mx")


class Desk:
    """A Teller with a store in memory, and one message of which `outcomes` are known."""

    def __init__(self, *outcomes: Outcome, notify: tuple[Notify, ...] = ()) -> None:
        self.store = MemoryStore()
        self.slow: asyncio.Event | None = None
        recipients = tuple(Recipient(o.recipient, o.recipient, "remote", notify) for o in outcomes)
        progress = Progress({o.recipient: Tried(o) for o in outcomes})
        mail = self.store.accept(Mail(Envelope("1" * 26, "ayse@far.test", recipients, 0.0), progress=progress))
        self.entry = Entry(mail, 0.0, 1e6)
        notices = DsnNotices("h.test", self._resolve, any_mailbox, lambda: 1.0)
        self.teller = Teller(self.store, Doors(), notices, Metrics(), self._record)

    async def _resolve(self, address: Address) -> Resolved:
        if self.slow is not None:
            await self.slow.wait()
        return Resolved(False)

    def _record(self, entry: Entry, update: Progress) -> None:
        self.store.record(entry.id, update)
        entry.message.progress = entry.progress.merged(update)

    @property
    def put(self) -> list[bytes]:
        return [mail.text for mail in self.store.disk.values() if mail.envelope.sender == ""]


def test_told_once_and_in_one_notice() -> None:
    async def main() -> None:
        desk = Desk(NO, Outcome("b@x.test", Fate.FAILED, NO.reply, "mx"))
        assert await desk.teller.settle(desk.entry)
        assert await desk.teller.settle(desk.entry)
        (text,) = desk.put
        assert text.count(b"Final-Recipient") == 2
        assert not untold_of(desk.entry)
        assert [what for what, _ in desk.store.events] == ["put", "record"]

    asyncio.run(main())


def test_two_that_come_together_tell_each_thing_once() -> None:
    async def main() -> None:
        desk = Desk(NO)
        desk.slow = asyncio.Event()
        first = asyncio.create_task(desk.teller.settle(desk.entry))
        await asyncio.sleep(0)
        late = Outcome("b@x.test", Fate.FAILED, NO.reply, "mx")
        envelope = desk.entry.message.envelope
        recipients = (*envelope.recipients, Recipient("b@x.test", kind="remote"))
        progress = desk.entry.progress.merged(Progress({"b@x.test": Tried(late)}))
        desk.entry.message = Mail(Envelope(envelope.id, envelope.sender, recipients, 0.0), progress=progress)
        assert not await desk.teller.settle(desk.entry), "another is at it"
        desk.slow.set()
        assert await first
        assert len(desk.put) == 2
        assert not untold_of(desk.entry)

    asyncio.run(main())


def test_what_needs_no_notice_counts_as_told() -> None:
    async def main() -> None:
        desk = Desk(NO, notify=(Notify.NEVER,))
        assert await desk.teller.settle(desk.entry)
        assert not desk.put
        assert not untold_of(desk.entry)

    asyncio.run(main())


def test_full_spool_leaves_it_owed() -> None:
    async def main() -> None:
        desk = Desk(NO)
        desk.store.broken = True
        assert not await desk.teller.settle(desk.entry)
        assert not await desk.teller.warn(desk.entry, [(desk.entry.message.envelope.recipients[0], NO)])
        assert untold_of(desk.entry)
        assert not desk.entry.progress.warned

    asyncio.run(main())


def test_warning_is_noted() -> None:
    async def main() -> None:
        desk = Desk(NO)
        assert await desk.teller.warn(desk.entry, [(desk.entry.message.envelope.recipients[0], NO)])
        assert desk.entry.progress.warned
        assert b"Action: delayed" in desk.put[0]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fate", "local", "action"),
    [
        (Fate.FAILED, True, Action.FAILED),
        (Fate.FAILED, False, Action.FAILED),
        (Fate.RELAYED, False, Action.RELAYED),
        (Fate.DELIVERED, True, Action.DELIVERED),
        (Fate.DELIVERED, False, None),
    ],
)
def test_what_there_is_to_tell(fate: Fate, local: bool, action: Action | None) -> None:
    assert action_of(Outcome("a@x.test", fate, NO.reply), local=local) is action
