"""aiosmtpd unmodified (aiosmtpd_server.py), on asyncio's loop or on uvloop. What it accepted is in the mailbox."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from bench.peer import DOMAIN, MAILBOXES, Peer


class PlainAiosmtpd(Peer):
    queues = False

    def __init__(self, folder: Path, *, uvloop: bool) -> None:
        super().__init__(folder)
        self.name = "aiosmtpd-uvloop" if uvloop else "aiosmtpd"
        self.version = version("aiosmtpd")
        self._words = ["uvloop"] if uvloop else []

    def start(self) -> None:
        program = Path(__file__).with_name("aiosmtpd_server.py")
        words = [sys.executable, str(program), str(self.folder / "vmail"), str(self.port), str(MAILBOXES)]
        self.spawn([*words, *self._words])
        self.wait_for_port()

    def hold(self) -> int:
        """There is no queue: what is accepted is written to the mailbox before the 250, held or not."""
        return self.port

    def discard(self) -> None:
        self.empty()

    def mailboxes(self) -> list[Path]:
        return [self.folder / "vmail" / DOMAIN / f"u{box}" / "new" for box in range(MAILBOXES)]
