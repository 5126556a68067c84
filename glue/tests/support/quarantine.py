"""Suspect mail put into the spool of a running `postane dev`, as the SMTP service puts it there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from postane.config.model import Spool
from postane.core.envelope import Envelope, Recipient
from postane.quarantine.items import Fresh, Item, Selection
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


def make_item(number: int, **changes: Any) -> Item:
    """A row of the index as it might be."""
    values: dict[str, Any] = {
        "id": number,
        "spool_id": f"{number:026}",
        "mailbox": "ayse@demo.test",
        "domain": "demo.test",
        "tenant": "demo",
        "sender": "x@far.test",
        "author": "Kötü <x@far.test>",
        "subject": "Kârlı teklif",
        "received_at": 1_700_000_000.0,
        "size": 2048,
        "reason": "Rspamd: score 7.50",
        "score": 7.5,
        "filter": "rspamd",
        "client_ip": "192.0.2.7",
        "smtputf8": False,
        "body_8bit": False,
        "state": "held",
        "changed_at": 0.0,
        "changed_by": "",
        "learned": "",
        "told": "",
    }
    return Item(**{**values, **changes})


def make_fresh(number: int, mailbox: str = "ayse@demo.test", **changes: Any) -> Fresh:
    """What comes in."""
    known = make_item(number, mailbox=mailbox)
    values = {name: getattr(known, name) for name in Fresh.__struct_fields__}
    return Fresh(**{**values, "received_at": 1_700_000_000.0 + number, **changes})


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
