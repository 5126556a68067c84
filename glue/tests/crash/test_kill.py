"""kill -9 under load: every message that got its 250 is delivered, once and unaltered; the service comes back."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.dev import Dev
from support.load import Senders, wait_until_delivered

ROUNDS = int(os.environ.get("POSTANE_CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))


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
    wait_until_delivered(dev, senders.kept)
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
    wait_until_delivered(dev, senders.kept)
    assert len(dev.children()) == 3
    assert dev.stop() == 0


def test_terminate_drains(dev: Dev) -> None:
    dev.start()
    senders = Senders(dev)
    time.sleep(1)
    assert dev.stop() == 0
    senders.stop()
    dev.start()
    wait_until_delivered(dev, senders.kept)
    assert dev.stop() == 0
