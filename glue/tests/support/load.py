"""Senders that keep a service busy while it is hurt, and the question that counts: is all there, once, unaltered?"""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from support.dev import Dev, delivered, message

_LARGE_EACH = 40  # one message in so many has a file of its own in the spool


class Senders:
    """Threads that send until told to stop, and remember the marks of what got its 250."""

    def __init__(self, dev: Dev, count: int = 6, *, pause: float = 0.0, first: int = 0) -> None:
        """`pause`: seconds that each sender waits after a message. `first`: messages are numbered from the next on."""
        self._dev = dev
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.number = first
        self.kept: dict[str, float] = {}  # when the 250 was read, by time.monotonic
        self.refused: Counter[int] = Counter()  # reply codes
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _next(self) -> int:
        with self._lock:
            self.number += 1
            return self.number

    def _send(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPServerDisconnected):
                self._session()
            time.sleep(0.02)

    def _session(self) -> None:
        with smtplib.SMTP("127.0.0.1", self._dev.smtp, timeout=5) as session:
            while not self._stop.is_set():
                try:
                    self._one(session)
                except smtplib.SMTPRecipientsRefused as refusal:
                    self.refused.update(code for code, _ in refusal.recipients.values())
                except smtplib.SMTPResponseException as refusal:
                    self.refused[refusal.smtp_code] += 1
                    session.rset()  # smtplib leaves the transaction open where DATA itself is refused
                time.sleep(self._pause)

    def _one(self, session: smtplib.SMTP) -> None:
        number = self._next()
        mark, text = message(number, 400_000 if number % _LARGE_EACH == 0 else 2_000)
        to = f"{self._dev.people[number % len(self._dev.people)]}@demo.test"
        session.sendmail("sender@far.test", [to], text)
        self.kept[mark] = time.monotonic()


def wait_until_delivered(dev: Dev, kept: Collection[str], seconds: float = 60, folder: Path | None = None) -> None:
    """All of `kept` is in the mailboxes (of `folder`) once, nothing is altered, nothing is there twice."""
    end = time.monotonic() + seconds
    while True:
        found = delivered(folder or dev.folder)
        missing = [mark for mark in kept if mark not in found]
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.2)
    assert missing == [], f"{len(missing)} of {len(kept)} lost"
    assert [name for name in found if name.startswith("altered")] == []
    assert [mark for mark, count in found.items() if count > 1] == []
