"""What is counted on the wire is shown, and never goes back while workers come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from postane.observe import scrape
from support.dev import POSTANE, Dev
from support.filtered import Session, figures

TEXT = b"From: a@far.test\r\nSubject: x\r\n\r\nbody\r\n"


def _accepted(dev: Dev) -> float:
    return sum(figures(dev, "postane_messages_accepted").values())


def _until(dev: Dev, wanted: float) -> None:
    end = time.monotonic() + 20
    while _accepted(dev) < wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert _accepted(dev) == wanted


def _workers(dev: Dev) -> set[int]:
    paths = (dev.folder / "run" / scrape.FOLDER).glob("smtpd-*.[0-9]*")
    return {int(path.suffix[1:]) for path in paths}


def _send(dev: Dev, count: int) -> None:
    for _ in range(count):
        session = Session(dev)
        assert session.mail("a@far.test", TEXT)[1].startswith("250")
        assert session.mail("a@far.test", TEXT, to="nobody@demo.test")[1].startswith("550")
        session.close()


def test_counters_go_on_through_reloads_and_deaths(tmp_path: Path) -> None:
    dev = Dev(tmp_path / "dev", workers=2, accounts=1, more=["--filters=none"])
    dev.start()
    ends = threading.Event()
    seen: list[float] = []

    def look() -> None:
        while not ends.wait(0.02):
            seen.append(_accepted(dev))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        _send(dev, 5)
        _until(dev, 5)
        assert figures(dev, "postane_refusals", "door", "at", "code", "status") == {("smtp", "rcpt", "550", "5.1.1"): 5}
        old = _workers(dev)
        assert dev.process is not None
        os.kill(dev.process.pid, signal.SIGHUP)
        end = time.monotonic() + 20
        while (now := _workers(dev)) & old or len(now) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        _send(dev, 3)
        _until(dev, 8)
        os.kill(min(now), signal.SIGKILL)
        while min(now) in _workers(dev):
            assert time.monotonic() < end + 20
            time.sleep(0.05)
        _send(dev, 2)
        _until(dev, 10)
        assert figures(dev, "postane_worker_ends", "why")[("died",)] == 1
        command = [
            str(POSTANE),
            f"--config={dev.folder / 'postane.yml'}",
            "metrics",
            "show",
            "messages_accepted",
            "--json",
        ]
        (shown,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert shown["value"] == 10
        assert shown["labels"] == {"door": "smtp", "service": "smtpd"}
    finally:
        ends.set()
        thread.join()
        dev.close()
    assert seen == sorted(seen)
