"""One text, several messages: all are in the spool before the peer reads 250, or none is promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from postane.config.model import Spool
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import SpoolFullError
from postane.core.ports import Claimed
from postane.core.reply import Reply
from postane.smtpd.filing import Parcel
from postane.smtpd.keeping import NO_ROOM, Keeper
from postane.spool.view import SpoolView
from postane.spool.writer import SpoolWriter

SETTINGS = Spool(segment_size=1 << 20, large_message=32_768, reserve=0)
PARCELS = [
    Parcel((Recipient("a@x.test"),), (("X-A", "1"),)),
    Parcel((Recipient("b@x.test", kind="quarantine"),), (), {"quarantine": "spam"}),
    Parcel((Recipient("c@x.test"),), (("X-Copy", "yes"),), sender=""),
]


def keep(folder: Path, text: bytes, hurt: Callable[[SpoolWriter], None] = lambda spool: None) -> Reply:
    async def work() -> Reply:
        spool = SpoolWriter(folder, SETTINGS)
        envelope = Envelope(spool.new_id(), "s@far.test", (), 0.0)
        draft = spool.draft(envelope.id)
        for at in range(0, len(text), 10_000):
            draft.append(text[at : at + 10_000])
        hurt(spool)
        try:
            return await Keeper(spool).keep_all(envelope, b"Received: x\r\n", draft, PARCELS)
        finally:
            await spool.close()

    return asyncio.run(work())


def kept_in(folder: Path) -> list[Claimed]:
    async def work() -> list[Claimed]:
        return SpoolView(folder, SETTINGS).poll()

    return asyncio.run(work())


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_each_parcel_is_a_message_of_its_own_with_the_same_text(tmp_path: Path, size: int) -> None:
    text = b"Subject: x\r\n\r\n" + b"o" * size + b"\r\n"
    reply = keep(tmp_path, text)
    kept = {one.envelope.recipients[0].address[0]: one for one in kept_in(tmp_path)}
    assert reply == Reply(250, "2.0.0", f"OK {kept['a'].id}")
    assert len({one.id for one in kept.values()}) == 3
    assert kept["a"].read() == b"Received: x\r\nX-A: 1\r\n" + text
    assert kept["b"].read() == b"Received: x\r\n" + text
    assert kept["c"].read() == b"Received: x\r\nX-Copy: yes\r\n" + text
    assert [kept[to].envelope.sender for to in "abc"] == ["s@far.test", "s@far.test", ""]
    assert kept["b"].envelope.extra == {"quarantine": "spam"}


def test_where_the_copies_find_no_room_nothing_is_kept(tmp_path: Path) -> None:
    def full(spool: SpoolWriter) -> None:
        def draft(message_id: str) -> None:
            raise SpoolFullError("no space")

        spool.draft = draft  # type: ignore[assignment,method-assign]

    assert keep(tmp_path, b"Subject: x\r\n\r\n" + b"o" * 100_000, full) == NO_ROOM
    assert kept_in(tmp_path) == []
    assert list(tmp_path.glob("w0/large/*")) == []
