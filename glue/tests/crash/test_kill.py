"""kill -9 under load: every message that got its 250 is delivered, once and unaltered; the service comes back."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import smtplib
import threading
import time
from pathlib import Path

import pytest

from support.dev import Dev, message

ROUNDS = int(os.environ.get("POSTANE_CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))


class Senders:
    """Threads that send until told to stop, and remember the marks of what got its 250."""

    def __init__(self, dev: Dev, count: int = 6) -> None:
        self._dev = dev
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        self.kept: list[str] = []
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _next(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _send(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._session()
            time.sleep(0.02)

    def _session(self) -> None:
        with smtplib.SMTP("127.0.0.1", self._dev.smtp, timeout=5) as session:
            while not self._stop.is_set():
                number = self._next()
                # Most are small and lie in the log; some are large and get a file of their own.
                mark, text = message(number, 400_000 if number % 40 == 0 else 2_000)
                to = f"{self._dev.people[number % len(self._dev.people)]}@demo.test"
                session.sendmail("sender@far.test", [to], text)
                self.kept.append(mark)


def _wait_for(dev: Dev, kept: list[str], seconds: float = 60) -> None:
    """All of `kept` once, nothing altered, nothing twice."""
    end = time.monotonic() + seconds
    while True:
        found = dev.delivered()
        missing = [mark for mark in kept if mark not in found]
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.2)
    assert missing == [], f"{len(missing)} of {len(kept)} lost"
    assert [name for name in found if name.startswith("altered")] == []
    assert [mark for mark, count in found.items() if count > 1] == []


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path / "dev")


def test_kill_everything_again_and_again(dev: Dev) -> None:
    chance = random.Random(SEED)
    dev.start()
    senders = Senders(dev)
    slowest = 0.0
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 1.2))
            dev.kill()
            slowest = max(slowest, dev.start())
        time.sleep(0.5)
    finally:
        senders.stop()
    _wait_for(dev, senders.kept)
    assert dev.stop() == 0
    assert len(senders.kept) > ROUNDS * 10
    print(f"{ROUNDS} kills, {len(senders.kept)} accepted, 0 lost, slowest start {slowest:.2f} s")


def test_a_killed_worker_is_replaced(dev: Dev) -> None:
    """Workers and the queue process die one by one, while mail goes on."""
    chance = random.Random(SEED)
    dev.start()
    senders = Senders(dev)
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 0.5))
            os.kill(chance.choice(dev.children()), signal.SIGKILL)
        time.sleep(1)
    finally:
        senders.stop()
    _wait_for(dev, senders.kept)
    assert len(dev.children()) == 3
    assert dev.stop() == 0


def test_terminate_drains(dev: Dev) -> None:
    dev.start()
    senders = Senders(dev)
    time.sleep(1)
    assert dev.stop() == 0
    senders.stop()
    dev.start()
    _wait_for(dev, senders.kept)
    assert dev.stop() == 0
