"""A message as it comes out of quarantine: its text as it was accepted, with one line that tells of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate

from postane.core.envelope import Envelope, Notify, Recipient
from postane.quarantine import reading
from postane.quarantine.items import SENT, Item

Piece = bytes | bytearray | memoryview


class Pieces:
    """A core.ports.Body of octets that lie somewhere already."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    @property
    def size(self) -> int:
        return sum(len(piece) for piece in self._pieces)

    def chunks(self) -> Sequence[Piece]:
        return self._pieces

    def bytes(self) -> bytes:
        return b"".join(self._pieces)


def envelope(item: Item, spool_id: str, recipients: Sequence[Recipient], now: float) -> Envelope:
    """Nobody is told what becomes of it: the sender of suspect mail is mostly not who it says."""
    remote = any(recipient.kind == "remote" for recipient in recipients)
    return Envelope(
        id=spool_id,
        # Another server would judge this host by the sender's SPF.
        sender=item.mailbox if remote else item.sender,
        recipients=tuple(replace(r, original=item.mailbox, notify=(Notify.NEVER,)) for r in recipients),
        received_at=now,
        client_ip=item.client_ip,
        smtputf8=item.smtputf8,
        body_8bit=item.body_8bit,
        tenant=item.tenant,
        extra={SENT: str(item.id), "from": item.spool_id},
    )


def body(text: memoryview, by: str, now: float) -> Pieces:
    """The message with `X-Postane-Released` on top and without the marks that file it into Junk."""
    octets = reading.beginning([text], reading.MOST_HEAD)
    end = reading.header_end(octets)
    who = "".join(char for char in by if "!" <= char <= "~" and char != ";")[:100] or "unknown"
    line = f"X-Postane-Released: {formatdate(now)}; by={who}\r\n".encode()
    return Pieces([line, reading.without_marks(octets[:end]), text[end:]])
