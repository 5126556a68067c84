"""Hands accepted messages to the spool, and makes the reply once they are safe there.

A message whose recipients get different octets becomes several messages with one text. The peer reads 250 only when
all of them are kept; after an error it tries again, and what was kept already is then delivered twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from postane.core.envelope import Envelope
from postane.core.errors import PostaneError, SpoolFullError
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.observe.log import get_logger, info_many
from postane.smtpd.filing import DEFERRED, Parcel

log = get_logger("smtpd")

NO_ROOM = Reply(452, "4.3.1", "No room to keep the message now; try again later")

_PIECE = 1 << 20  # octets copied at once


class DraftBody(Body, Protocol):
    """A body that grows while it arrives (see spool.draft)."""

    def append(self, block: bytes) -> None: ...

    def overwrite(self, patches: Iterable[tuple[int, bytes]]) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None: ...


class Intake(Protocol):
    """The spool as the service uses it."""

    def new_id(self) -> str: ...

    def draft(self, message_id: str) -> DraftBody: ...

    def room_for(self, size: int) -> bool: ...

    def keep(
        self, envelope: Envelope, head: bytes, body: Body, done: Callable[[PostaneError | None], None]
    ) -> None: ...


class Keeper:
    """One for each worker."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._accepted: list[dict[str, Any]] = []

    def keep(self, envelope: Envelope, head: bytes, draft: DraftBody) -> Awaitable[Reply]:
        """Into the spool, and the draft is the spool's; the reply comes once the message is safe there."""
        kept: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(error: PostaneError | None) -> None:
            if error is not None:
                draft.discard()
                reply = NO_ROOM if isinstance(error, SpoolFullError) else DEFERRED
                log.error("not_kept", trace_id=envelope.id, reason=str(error), reply=str(reply))
            else:
                draft.close()
                reply = Reply(250, "2.0.0", f"OK {envelope.id}")
                self._tell(
                    {
                        "trace_id": envelope.id,
                        "sender": envelope.sender,
                        "recipients": len(envelope.recipients),
                        "size": len(head) + size,
                        "client_ip": envelope.client_ip,
                        "login": envelope.login,
                        "event": "accepted",
                    }
                )
            if not kept.done():  # its session may be gone; the message is kept all the same
                kept.set_result(reply)

        size = draft.size
        self._intake.keep(envelope, head, draft, done)
        return kept

    async def keep_all(
        self, envelope: Envelope, head: bytes, draft: DraftBody, parcels: Sequence[Parcel], above: bytes = b""
    ) -> Reply:
        """The first parcel is the message itself; others get an id of their own. `head` stands above all of them, and
        `above` between a parcel's header fields and the text.
        """
        first, *others = parcels
        messages = [(envelope, draft, first)]
        try:
            for parcel in others:
                copied = replace(envelope, id=self._intake.new_id())
                messages.append((copied, self._intake.draft(copied.id), parcel))
                _copy(draft, messages[-1][1])
                log.info("split", trace_id=envelope.id, other=copied.id)
        except SpoolFullError as error:
            for _, one, _ in messages:
                one.discard()
            log.error("spool_full", trace_id=envelope.id, reason=str(error))
            return NO_ROOM
        heads = [head + _lines(parcel) + above for parcel in parcels]
        kept = [
            self.keep(_addressed(one, parcel), top, body)
            for top, (one, body, parcel) in zip(heads, messages, strict=True)
        ]
        replies = await asyncio.gather(*kept)
        return next((reply for reply in replies if not reply.ok), replies[0])

    def _tell(self, accepted: dict[str, Any]) -> None:
        """Into the log with the others that one sync made safe, in one write."""
        if not self._accepted:
            asyncio.get_running_loop().call_soon(self._tell_all)
        self._accepted.append(accepted)

    def _tell_all(self) -> None:
        accepted, self._accepted = self._accepted, []
        info_many("smtpd", accepted)


def _addressed(envelope: Envelope, parcel: Parcel) -> Envelope:
    return replace(
        envelope,
        sender=envelope.sender if parcel.sender is None else parcel.sender,
        recipients=parcel.recipients,
        extra={**envelope.extra, **parcel.extra},
    )


def _lines(parcel: Parcel) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in parcel.headers)


def _copy(source: Body, to: DraftBody) -> None:
    """Raises SpoolFullError."""
    for chunk in source.chunks():
        view = memoryview(chunk)
        for at in range(0, len(view), _PIECE):
            to.append(bytes(view[at : at + _PIECE]))
