"""A start with a full spool: seconds and memory, printed and bounded, in a process of its own.

The bounds are wide, for a loaded machine; POSTANE_QUEUED=100000 shows the figures of the documentation.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from postane.config.model import Config, Queue, Spool
from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, Destination
from postane.daemon import queue as daemon
from postane.daemon.supervisor import Pipes
from postane.queue.runner import QueueRunner
from postane.spool.view import SpoolView
from postane.spool.writer import SpoolWriter

QUEUED = int(os.environ.get("POSTANE_QUEUED", "20000"))


class Silent:
    """A core.ports.Routes to servers that let us wait."""

    def destination(self, recipient: Recipient) -> Destination:
        return Destination(recipient.address.rpartition("@")[2])

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        await asyncio.sleep(3600)
        return []

    async def close(self) -> None:
        pass


async def _fill(spool: Path) -> None:
    writer = SpoolWriter(spool, Spool())
    futures = []
    for n in range(QUEUED):
        to = Recipient(f"user{n}@dest{n % 1000}.test", f"user{n}@dest{n % 1000}.test", "remote")
        message_id, at = writer.new_id(), time.time()
        envelope = Envelope(message_id, f"sender{n}@far{n % 100}.test", (to,), at, tenant=f"tenant{n % 20}")
        draft = writer.draft(message_id)
        draft.append(b"Subject: hello\r\n\r\n" + b"x" * 2000 + b"\r\n")
        futures.append(writer.put(envelope, b"", draft))
    await asyncio.gather(*futures)
    await writer.close()


async def _start(spool: Path) -> dict[str, float]:
    daemon.tune_collector()
    before, began, cpu = _memory(), time.perf_counter(), time.process_time()
    runner = QueueRunner(SpoolView(spool, Spool()), Silent(), None, Queue())  # type: ignore[arg-type]
    task = asyncio.create_task(runner.run())
    while len(runner.entries) < QUEUED:  # noqa: ASYNC110 - the queue has no event for it, and needs none
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "octets": (_memory() - before) / QUEUED,
        "running": runner.scheduler.running,
    }
    task.cancel()
    return found


def _memory() -> int:
    """Resident octets of this process that are its own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def test_thousands_that_wait_start_in_seconds_and_are_small(tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "spool"))
    said = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "spool")], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    found = json.loads(said.splitlines()[-1])
    micros, octets = found["cpu"] / QUEUED * 1e6, found["octets"]
    print(f"{QUEUED} queued: {found['seconds']:.2f} s, {micros:.0f} µs of CPU and {octets:.0f} octets a message")
    assert found["running"] > 100
    assert micros < 150
    assert octets < 2000


def test_it_runs_where_a_unit_forbids_it_to_lower_its_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    ran: list[Pipes] = []
    monkeypatch.setattr("os.nice", forbidden)
    monkeypatch.setattr(daemon, "run", lambda pipes, _: ran.append(pipes))
    daemon.job(Config(host="mail.demo.test"), lambda _: pytest.fail("not yet")).run(Pipes(1, 2))
    assert ran == [Pipes(1, 2)]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_start(Path(sys.argv[1])))))
    os._exit(0)
