"""Into quarantine, and out of it: the two ways on which the queue meets this stage.

Messages that wait together share a round: every text is written and synced, then the folders, then one transaction of
the index. Only after the last step is anything called delivered; what is repeated after a crash is found there.
A disk that is full, or nearly, makes the messages wait in the spool (452); nothing here ever bounces one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from postane.config.model import Quarantine
from postane.core.address import Address
from postane.core.envelope import Recipient
from postane.core.errors import AddressError, CorruptSpoolError, PostaneError, SpoolFullError, TemporaryError
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, Transport
from postane.core.reply import Reply
from postane.observe.log import get_logger
from postane.quarantine import reading
from postane.quarantine.items import SENT, Fresh
from postane.quarantine.store import Store

log = get_logger("quarantine")

REMOTE = "quarantine"
_ROUND = 128  # each has a descriptor open
_FULL = (28, 122)  # ENOSPC, EDQUOT

_DONE = Reply(250, "2.0.0", "Kept in quarantine")


@dataclass(slots=True, eq=False)
class _Arrival:
    message: Claimed
    recipients: Sequence[Recipient]
    done: asyncio.Future[None]
    error: Exception | None = None


class QuarantineTransport:
    """A core.ports.Transport: recipients are the mailboxes that the message was meant for."""

    def __init__(self, store: Store, settings: Quarantine) -> None:
        self._store = store
        self._settings = settings
        self._waiting: list[_Arrival] = []
        self._worker: asyncio.Task[None] | None = None

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        arrival = _Arrival(message, recipients, loop.create_future())
        self._waiting.append(arrival)
        if self._worker is None:
            self._worker = loop.create_task(self._work(), name="quarantine rounds")
        await arrival.done
        if isinstance(arrival.error, CorruptSpoolError):
            raise arrival.error
        reply = _reply(arrival.error)
        return [Outcome.from_reply(recipient.address, reply, REMOTE) for recipient in recipients]

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # who was started together shares the round
                batch, self._waiting = self._waiting[:_ROUND], self._waiting[_ROUND:]
                try:
                    await self._store.run(self._round, batch)
                finally:
                    for arrival in batch:
                        if not arrival.done.done():
                            arrival.done.set_result(None)
        finally:
            self._worker = None

    def _round(self, batch: list[_Arrival]) -> None:
        """In the store's thread; what breaks is said to those whom it concerns."""
        try:
            self._store.check_room()
            fresh: list[Fresh] = []
            texts: list[tuple[_Arrival, Sequence[reading.Piece]]] = []
            for arrival in batch:
                try:
                    texts.append((arrival, arrival.message.chunks()))
                except Exception as error:
                    arrival.error = error
            errors = self._store.write_texts([(arrival.message.id, pieces) for arrival, pieces in texts])
            for (arrival, pieces), fault in zip(texts, errors, strict=True):
                try:
                    if fault is not None:
                        raise fault
                    fresh += facts(arrival.message, arrival.recipients, pieces)
                except Exception as error:
                    arrival.error = error
            settings = self._settings
            gone = self._store.index.add(fresh, most_octets=settings.mailbox_size, most_items=settings.mailbox_messages)
        except Exception as error:
            for arrival in batch:
                arrival.error = arrival.error or error
        else:
            if gone:
                log.info("the oldest gave way", messages=len(gone))
                self._tidy(gone)
        for arrival in batch:
            if arrival.error is not None:
                log.warning("not kept in quarantine", trace_id=arrival.message.id, reason=str(arrival.error))

    def _tidy(self, gone: set[str]) -> None:
        try:
            self._store.drop_texts(gone)
        except (OSError, PostaneError) as error:  # the sweep finds them
            log.warning("texts cannot be removed", reason=str(error))

    async def close(self) -> None:
        """Waits for the round under way."""
        if self._worker is not None:
            await asyncio.wait([self._worker])


class Settling:
    """A core.ports.Transport before another: what quarantine sent is settled when its delivery begins.

    So it cannot be delivered, and gone from the spool, while the index still believes that it was never sent.
    """

    def __init__(self, inner: Transport, store: Store) -> None:
        self._inner = inner
        self._store = store

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        if SENT in message.envelope.extra:
            await self._store.ask(self._store.index.settle, [message.id])
        return await self._inner.deliver(message, recipients)

    async def close(self) -> None:
        await self._inner.close()


def facts(message: Claimed, recipients: Sequence[Recipient], text: Sequence[reading.Piece]) -> list[Fresh]:
    """What the index is told of a message, one for each mailbox. Raises CorruptSpoolError."""
    envelope = message.envelope
    octets = reading.beginning(text, reading.MOST_HEAD)
    head = octets[: reading.header_end(octets)]
    author, subject = reading.field(head, "From"), reading.field(head, "Subject")
    return [
        Fresh(
            spool_id=envelope.id,
            mailbox=_mailbox(recipient.address),
            tenant=envelope.tenant,
            sender=envelope.sender,
            author=author,
            subject=subject,
            received_at=envelope.received_at,
            size=message.size,
            reason=reading.shown(envelope.extra.get("quarantine", ""), 1000),
            score=_number(envelope.extra.get("score", "")),
            filter=reading.shown(envelope.extra.get("filter", ""), 100),
            client_ip=envelope.client_ip,
            smtputf8=envelope.smtputf8,
            body_8bit=envelope.body_8bit,
        )
        for recipient in recipients
    ]


def _mailbox(address: str) -> str:
    """The normal form: an alias that leads elsewhere is named as the peer wrote it."""
    try:
        return Address.parse(address).key
    except AddressError:
        return address.lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _reply(error: Exception | None) -> Reply:
    if error is None:
        return _DONE
    full = isinstance(error, SpoolFullError) or (isinstance(error, OSError) and error.errno in _FULL)
    if full or (isinstance(error, TemporaryError) and "full" in str(error)):
        return Reply(452, "4.3.1", f"No room in quarantine: {error}")
    return Reply(451, "4.3.0", f"Quarantine cannot keep it now: {error}")
