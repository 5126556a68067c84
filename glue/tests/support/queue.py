"""A queue's surroundings in memory: a store that keeps what was synced, and messages without a spool."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from postane.core.envelope import Envelope, Recipient
from postane.core.errors import TemporaryError
from postane.core.ids import make_id
from postane.core.outcome import Outcome, Progress
from postane.core.ports import Body, Claimed, Destination, Mailbox
from postane.core.reply import Reply

TEXT = b"From: <ayse@demo.test>\r\nSubject: hello\r\nMessage-ID: <m1@demo.test>\r\n\r\nHi\r\n"


async def any_mailbox(address: str) -> Mailbox:
    """A core.ports.FindMailbox: every address has one, since ever."""
    local, _, domain = address.rpartition("@")
    return Mailbox(1, f"{domain}/{local}", 0.0)


@dataclass
class Mail:
    """A core.ports.Claimed in memory."""

    envelope: Envelope
    text: bytes = TEXT
    progress: Progress = field(default_factory=Progress)
    failure: Exception | None = None
    doubtful: bool = False

    @property
    def id(self) -> str:
        return self.envelope.id

    def rest(self) -> None:
        pass

    @property
    def size(self) -> int:
        return len(self.text)

    def chunks(self) -> Sequence[bytes | memoryview]:
        if self.failure is not None:
            raise self.failure
        half = len(self.text) // 2
        return [memoryview(self.text)[:half], self.text[half:]]

    def read(self) -> bytes:
        return b"".join(self.chunks())


class MemoryStore:
    """A core.ports.QueueStore. `disk` is what a crash would leave; `events` tells the order of all calls."""

    def __init__(self) -> None:
        self.disk: dict[str, Mail] = {}
        self.events: list[tuple[str, str]] = []
        self.broken = False
        self.in_flight: Counter[str] = Counter()
        self._over: list[str] = []
        self._new: list[Mail] = []
        self._buffer: list[tuple[str, Progress | None]] = []
        self._signal = asyncio.Event()
        self._ids = 0

    def accept(self, mail: Mail) -> Mail:
        """A worker took a message and synced it."""
        self.disk[mail.envelope.id] = mail
        self._new.append(mail)
        self._signal.set()
        return mail

    def poll(self, most: int = 1_000_000) -> list[Claimed]:
        new, self._new = self._new[:most], self._new[most:]
        return list(new)

    def begin(self, message_id: str) -> None:
        self.in_flight[message_id] += 1

    def end(self, message_id: str) -> None:
        self._over.append(message_id)

    def record(self, message_id: str, update: Progress) -> None:
        assert message_id in self.disk
        self.events.append(("record", message_id))
        self._buffer.append((message_id, update))

    def finish(self, message_id: str) -> None:
        self.events.append(("finish", message_id))
        self._buffer.append((message_id, None))

    async def sync(self) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise TemporaryError("the disk is full")
        buffer, self._buffer = self._buffer, []
        for message_id, update in buffer:
            if update is None:
                del self.disk[message_id]
                del self.in_flight[message_id]
            else:
                mail = self.disk[message_id]
                self.disk[message_id] = Mail(mail.envelope, mail.text, mail.progress.merged(update))
        over, self._over = self._over, []
        self.in_flight.subtract(over)
        self.events.append(("sync", ""))

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None:
        if self.broken:
            raise TemporaryError("the disk is full")
        self.events.append(("put", envelope.id))
        self.accept(Mail(envelope, head + body.bytes()))

    def new_id(self) -> str:
        self._ids += 1
        return make_id(2e9, self._ids.to_bytes(10, "big"))

    async def wait(self, seconds: float) -> None:
        await self._signal.wait()
        self._signal.clear()

    def reborn(self) -> MemoryStore:
        """The store after a crash: only what was synced."""
        store = MemoryStore()
        store._ids = self._ids
        for mail in self.disk.values():
            mail.doubtful = self.in_flight[mail.id] > 0
            store.accept(mail)
        return store


class Doors:
    """A core.ports.Routes that answers as `says` tells by address: a Reply, a list of them in turn, or an error."""

    def __init__(self) -> None:
        self.says: dict[str, Reply | Exception | list[Reply]] = {}
        self.delivered: list[tuple[str, str]] = []
        self.calls: list[tuple[str, list[str]]] = []
        self.gate: asyncio.Event | None = None

    def destination(self, recipient: Recipient) -> Destination:
        if recipient.kind == "local":
            return Destination("local", local=True)
        return Destination(recipient.address.rpartition("@")[2])

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        self.calls.append((message.envelope.id, [r.address for r in recipients]))
        if self.gate is not None:
            await self.gate.wait()
        outcomes = []
        for recipient in recipients:
            said = self.says.get(recipient.address, Reply(250, "2.0.0", "ok"))
            if isinstance(said, list):
                said = said.pop(0) if len(said) > 1 else said[0]
            if isinstance(said, Exception):
                raise said
            if said.ok:
                self.delivered.append((message.envelope.id, recipient.address))
            unreachable = said.enhanced.startswith("4.4.")
            outcomes.append(Outcome.from_reply(recipient.address, said, "" if unreachable else "peer.test"))
        return outcomes

    async def close(self) -> None:
        pass
