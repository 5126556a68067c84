"""`queue check` beside a daemon in full swing, and between kills: what is written or goes meanwhile is no fault."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from postane.core.errors import TemporaryError
from postane.spool.check import check
from postane.spool.repair import repair
from support.dev import Dev
from support.load import Senders, wait_until_delivered

ROUNDS = int(os.environ.get("POSTANE_CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("POSTANE_CRASH_SEED", "1"))


def test_check_beside_mail_and_between_kills(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    dev = Dev(tmp_path / "dev")
    spool = dev.folder / "spool"
    dev.start()
    kept: list[str] = []
    looks = messages = 0
    try:
        for number in range((ROUNDS + 1) // 2):
            senders = Senders(dev, 4, first=number * 1_000_000)
            end = time.monotonic() + chance.uniform(0.5, 1.5)
            try:
                while time.monotonic() < end:
                    report = check(spool)
                    assert report.faults == []
                    looks, messages = looks + 1, max(messages, report.messages)
                with pytest.raises(TemporaryError):
                    repair(spool)
                dev.kill()
            finally:
                senders.stop()
            kept += senders.kept
            assert check(spool).faults == []
            if chance.random() < 0.5:  # what a kill leaves may be brought in order without the daemon as well
                assert repair(spool).faults == []
                assert not (spool / "damaged").exists()
            dev.start()
        wait_until_delivered(dev, kept)
        assert dev.stop() == 0
        assert check(spool).faults == []
    finally:
        dev.close()
    assert looks > ROUNDS
    print(f"{looks} checks beside mail, up to {messages} messages in the spool, {len(kept)} accepted, no fault")
