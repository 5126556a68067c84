"""A plain aiosmtpd server as its manual shows it, with a handler that keeps each message durably before the 250.

Run as a program: aiosmtpd_server.py FOLDER PORT MAILBOXES [uvloop]. One process: aiosmtpd has no workers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import uvloop
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session

log = logging.getLogger("mail")


class Keep:
    """Each message becomes a file in the recipient's Maildir: written, synced, renamed, the folder synced."""

    def __init__(self, folder: Path, names: set[str]) -> None:
        self._folder = folder
        self._names = names
        self._number = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.lower() not in self._names:
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        for address in envelope.rcpt_tos:
            local, _, domain = address.lower().partition("@")
            box = self._folder / domain / local
            self._number += 1
            name = f"{self._number}.{os.getpid()}"
            with (box / "tmp" / name).open("wb") as file:
                file.write(envelope.content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(box / "tmp" / name, box / "new" / name)  # noqa: PTH104
            at = os.open(box / "new", os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(at)
            os.close(at)
            log.info("kept %s from=<%s> to=<%s> size=%d", name, envelope.mail_from, address, len(envelope.content))
        return "250 OK"


def main() -> None:
    folder, port, boxes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    names = {f"u{box}@demo.test" for box in range(boxes)}
    for name in names:
        local, _, domain = name.partition("@")
        for part in ("tmp", "new", "cur"):
            (folder / domain / local / part).mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    loop = uvloop.new_event_loop() if "uvloop" in sys.argv else asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # No limit on the size here but ours: 30 MiB, as all the others.
    controller = UnthreadedController(
        Keep(folder, names), hostname="127.0.0.1", port=port, loop=loop, data_size_limit=30 * 1024 * 1024
    )
    controller.begin()  # type: ignore[no-untyped-call]
    loop.run_forever()


if __name__ == "__main__":
    main()
