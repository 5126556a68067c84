"""kill -9 under load: every message that got its 250 is delivered, once and unaltered; the service comes back."""

from __future__ import annotations

import os
import random
import signal
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dev import Dev, message
from support.load import Senders, wait_until_delivered

ROUNDS = int(os.environ.get("POSTANE_CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))
_SLOWEST = 10.0  # seconds; what it takes beside other work is printed, and speed is the bench's matter


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path / "dev")
    yield dev
    dev.close()


def test_kill_everything_again_and_again(dev: Dev) -> None:
    chance = random.Random(SEED)
    dev.start()
    senders = Senders(dev, pause=0.01)
    starts = []
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.2, 1.2))
            dev.kill()
            starts.append(dev.start())
        time.sleep(0.5)
    finally:
        senders.stop()
    wait_until_delivered(dev, senders.kept, 60 + ROUNDS)
    assert dev.stop() == 0
    assert len(senders.kept) > ROUNDS * 10
    starts.sort()
    print(
        f"{ROUNDS} kills of everything, {len(senders.kept)} accepted, 0 lost, 0 doubled, 0 altered; "
        f"start {starts[len(starts) // 2]:.2f} s (median), {starts[-1]:.2f} s (slowest)"
    )
    assert starts[-1] < _SLOWEST


def _time_to_250(dev: Dev) -> tuple[str, float]:
    """A new peer that tries until its mail is taken: the mark of it, and the seconds since the call."""
    begun = time.monotonic()
    mark, text = message(time.time_ns(), 200)
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", dev.smtp, timeout=10) as session:
                session.sendmail("probe@far.test", ["user0@demo.test"], text)
                return mark, time.monotonic() - begun
        except (OSError, smtplib.SMTPException):
            assert time.monotonic() < begun + 30, "nobody takes mail any more"


def test_a_killed_worker_is_replaced(dev: Dev) -> None:
    """Workers and the queue process die one by one, while mail goes on."""
    chance = random.Random(SEED)
    dev.start()
    senders = Senders(dev, 4, pause=0.01)
    waits = []
    probes = []
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 0.5))
            while len(dev.children()) < 3:  # the last one is not back yet
                time.sleep(0.01)
            os.kill(chance.choice(dev.children()), signal.SIGKILL)
            mark, seconds = _time_to_250(dev)
            probes.append(mark)
            waits.append(seconds)
        time.sleep(1)
    finally:
        senders.stop()
    wait_until_delivered(dev, [*senders.kept, *probes], 60 + ROUNDS)
    assert len(dev.children()) == 3
    assert dev.stop() == 0
    waits.sort()
    print(
        f"{ROUNDS} workers killed, {len(senders.kept)} accepted, 0 lost, 0 doubled, 0 altered; a new peer's 250 after "
        f"{waits[len(waits) // 2]:.3f} s (median), {waits[-1]:.3f} s (slowest)"
    )
    assert waits[-1] < _SLOWEST


def test_terminate_drains(dev: Dev) -> None:
    dev.start()
    senders = Senders(dev)
    time.sleep(1)
    assert dev.stop() == 0
    senders.stop()
    dev.start()
    wait_until_delivered(dev, senders.kept)
    assert dev.stop() == 0
