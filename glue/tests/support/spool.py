"""A spool made by hand, octet for octet, and what the queue makes of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postane.config.model import Spool
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import CorruptSpoolError
from postane.core.ids import make_id
from postane.spool import record
from postane.spool.segment import SegmentWriter
from postane.spool.view import SpoolView

SETTINGS = Spool(segment_size=64 * 1024, large_message=8 * 1024, reserve=0)
SERIAL = 0x0123456789ABCDEF


@dataclass(frozen=True)
class Written:
    """A message in a segment, from `at` to `end`. `large` is the part of `text` that lies in a file."""

    id: str
    text: bytes
    at: int
    end: int
    large: bytes = b""


def envelope(message_id: str) -> Envelope:
    return Envelope(message_id, "a@x.test", (Recipient("b@y.test"),), 1.5)


def write_segment(
    path: Path,
    texts: Sequence[bytes],
    *,
    serial: int = SERIAL,
    size: int = 16 * 1024,
    sealed: bool = True,
    durable: int | None = None,
    large: Mapping[int, bytes] | None = None,
) -> list[Written]:
    """A segment with these messages; `large` has the rest of some texts, by their number.

    `durable`: the mark as a power cut left it, when it is not the end.
    """
    (path.parent / "large").mkdir(parents=True, exist_ok=True)
    (path.parent / "lock").touch()
    segment = SegmentWriter(path, size, serial)
    written = []
    for number, text in enumerate(texts):
        message_id = make_id(1_700_000_000 + number, int(path.stem).to_bytes(5, "big") + number.to_bytes(5, "big"))
        rest = (large or {}).get(number, b"")
        if rest:
            (path.parent / "large" / message_id).write_bytes(rest)
        head = record.pack_record(
            serial, envelope(message_id), (len(text), record.crc([text])), (len(rest), record.crc([rest]))
        )
        at = segment.at
        segment.write([head, text])
        written.append(Written(message_id, text + rest, at, segment.at, rest))
    segment.sync()
    if sealed:
        segment.seal()
    else:
        segment._page.close()
        os.close(segment._fd)
    if durable is not None:
        overwrite(path, record.DURABLE_AT, record.word(durable))
    return written


def overwrite(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), octets, at)


async def given_out(root: Path, done: bool = False) -> dict[str, bytes | None]:
    """All that the queue gives out at its start, with the text, None where it does not check out. `done`: finishes it.

    Fails where a message comes twice.
    """
    view = SpoolView(root, SETTINGS)
    found: dict[str, bytes | None] = {}
    while messages := view.poll(7):
        for message in messages:
            assert message.id not in found
            try:
                found[message.id] = message.read()
            except CorruptSpoolError:
                found[message.id] = None
    for message_id in found if done else ():
        view.finish(message_id)
    await view.close()
    return found


def read(root: Path, *, done: bool = False) -> dict[str, bytes | None]:
    return asyncio.run(given_out(root, done))
