"""Dovecot and DNS that are dead, silent or slow, under load: mail is taken meanwhile, waits, and comes once."""

from __future__ import annotations

import asyncio
import json
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.message

from support.dev import delivered, digest, message
from support.dns import NameServer
from support.lmtp import LmtpServer
from support.load import Senders, wait_until_delivered
from support.tuned import Tuned

_QUICK: dict[str, Any] = {
    "queue": {"local_retry_first": 0.3, "local_retry_most": 0.6, "retry_first": 0.3, "retry_most": 0.6},
    "delivery": {"connect_timeout": 0.5, "command_timeout": 0.5, "data_timeout": 0.5},
}


@contextmanager
def _beside(start: Callable[[], Awaitable[Any]]) -> Iterator[Any]:
    """A server in a thread with a loop of its own; gives what `start` returns."""
    loop = asyncio.new_event_loop()
    # A daemon, so that a test that fails here does not keep the whole run from ending.
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def started() -> Any:
        return await start()

    try:
        yield asyncio.run_coroutine_threadsafe(started(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _wait(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def _events(log: Path, name: str) -> int:
    whole = log.read_text().rpartition("\n")[0]  # the last line may be half written
    lines = (line for line in whole.splitlines() if line.startswith("{"))
    return sum(json.loads(line)["event"] == name for line in lines)


def test_dovecot_dead_silent_and_slow(tmp_path: Path) -> None:
    server = LmtpServer(tmp_path / "lmtp")
    changes = {**_QUICK, "delivery": {**_QUICK["delivery"], "local": "lmtp", "lmtp": str(server.path)}}
    dev = Tuned(tmp_path / "dev", changes)
    dev.start()
    workers = dev.children()
    senders = Senders(dev, 3, pause=0.02)

    def trouble() -> None:
        """Lasts until it has been met several times, and some more mail was taken in it."""
        delays, kept = _events(dev.log, "delayed"), len(senders.kept)
        _wait(lambda: _events(dev.log, "delayed") > delays + 3 and len(senders.kept) > kept + 10)

    try:
        trouble()  # there is no server
        server.greeting = "silence"
        with _beside(server.start):
            trouble()
            for verb in ("LHLO", "MAIL", "RCPT", "DATA"):
                server.greeting, server.script = "220 lmtp.test ready", {verb: "silence"}
                server.hang_up()
                trouble()
            server.script = {}
            server.delay = 0.1
            time.sleep(1)
            senders.stop()
            server.delay = 0.0
            _wait(lambda: len(server.received) >= len(senders.kept), 60)
        found: Counter[str] = Counter()
        for _, _, text in server.received:
            mark = text.partition(b"X-Mark: ")[2].partition(b"\r\n")[0].decode()
            assert mark == digest(text[text.find(b"Subject: ") :])
            found[mark] += 1
        assert found == Counter(senders.kept.keys())
        assert not senders.refused
        assert dev.children() == workers
        assert dev.stop() == 0
    finally:
        senders.stop()
        dev.close()


class _SlowNameServer(NameServer):
    seconds = 0.0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        dns.message.from_wire(data)
        asyncio.get_running_loop().call_later(self.seconds, super().datagram_received, data, addr)


def test_dns_silent_then_slow(tmp_path: Path) -> None:
    """Remote mail waits and keeps nobody up; when DNS says at last that there is no such domain, the sender is told."""
    server = _SlowNameServer()
    server.faults["far.test"] = None
    with _beside(server.start) as address:
        changes = {
            **_QUICK,
            "dns": {"nameservers": [address], "timeout": 0.5},
            "smtp": {"relay_from": ["127.0.0.1/32"]},
        }
        dev = Tuned(tmp_path / "dev", changes, more=["--filters=none"])
        dev.start()
        try:
            workers = dev.children()
            with smtplib.SMTP("127.0.0.1", dev.smtp, timeout=20) as session:
                for number in range(20):
                    to = f"somebody{number}@far.test"
                    session.sendmail("user0@demo.test", [to], b"Subject: away\r\n\r\nHi\r\n")
                mark, text = message(1, 100)
                session.sendmail("user0@demo.test", ["user1@demo.test"], text)
            wait_until_delivered(dev, [mark], 10)
            _wait(lambda: _events(dev.log, "delayed") > 20)
            assert sum(delivered(dev.folder).values()) == 1
            server.seconds = 0.2
            del server.faults["far.test"]
            boxes = dev.folder / "vmail/demo.test/user0/Maildir/new"
            _wait(lambda: boxes.is_dir() and len(list(boxes.iterdir())) == 20, 60)
            time.sleep(0.5)
            told = Counter(
                line
                for path in boxes.iterdir()
                for line in path.read_bytes().decode().splitlines()
                if line.startswith("Final-Recipient: ")
            )
            assert told == Counter(f"Final-Recipient: rfc822; somebody{number}@far.test" for number in range(20))
            assert dev.children() == workers
            assert dev.stop() == 0
        finally:
            dev.close()
