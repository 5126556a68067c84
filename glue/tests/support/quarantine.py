"""Suspect mail put into the spool of a running `postane dev`, as the SMTP service puts it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from postane.config.model import Spool
from postane.core.envelope import Envelope, Recipient
from postane.quarantine.items import Item, Selection
from postane.quarantine.release import Pieces
from postane.quarantine.store import FOLDER, Store
from postane.spool.writer import SpoolWriter


def suspect(
    root: Path, texts: Iterable[bytes], *mailboxes: str, sender: str = "bob@far.test", age: float = 0
) -> list[str]:
    """Puts messages into the spool folder for the quarantine of these mailboxes; their spool ids."""

    async def main() -> list[str]:
        writer = SpoolWriter(root, Spool(reserve=0))
        ids = []
        for text in texts:
            recipients = tuple(Recipient(mailbox, mailbox, "quarantine") for mailbox in mailboxes)
            extra = {"quarantine": "Rspamd: score 7.50 of 6.00", "score": "7.5", "filter": "rspamd"}
            envelope = Envelope(
                writer.new_id(),
                sender,
                recipients,
                time.time() - age,
                client_ip="192.0.2.7",
                body_8bit=True,
                tenant="demo",
                extra=extra,
            )
            await writer.put(envelope, b"Received: from x by y\r\n", Pieces([text]))
            ids.append(envelope.id)
        await writer.close()
        return ids

    return asyncio.run(main())


def items(state: Path, wanted: Selection | None = None) -> list[Item]:
    store = Store(state / FOLDER)
    try:
        return store.index.choose(wanted or Selection())
    finally:
        store.close()


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
