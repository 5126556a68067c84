"""The memory of the processes: of a worker over many messages, of the tree at 50 connections, of sessions that ended.

POSTANE_SOAK_MESSAGES: how many messages the worker takes; in 20,000 a leak of 300 octets a message is seen, in
1,000,000 one of six.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import itertools
import os
import random
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from postane.core.peer import Service
from postane.smtpd.dialogue import Dialogue
from postane.smtpd.handler import Transaction
from postane.smtpd.server import Server
from support.dev import Dev, message
from support.service import Site
from support.wire import Line, Wire

MESSAGES = int(os.environ.get("POSTANE_SOAK_MESSAGES", "20000"))
GROWTH = 4  # MiB that a worker may grow after the first third: it swings by two with what lies in memory just then
TREE = 150  # MB that all processes may take at 50 connections


def memory(pid: int) -> dict[str, float]:
    """MiB: "Pss" (shared pages counted in part), "Private" (its own), "Rss"."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        found[name.rstrip(":")] = int(size) / 1024
    found["Private"] = found["Private_Dirty"] + found["Private_Clean"]
    return found


class Peers:
    """Clients that do all that a worker may remember: names nobody has, new hosts, TLS, logins, refusals."""

    def __init__(self, site: Site, count: int = 30) -> None:
        self._site = site
        self._count = count
        self._numbers = itertools.count()
        self._chance = random.Random(1)
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self.accepted = 0

    async def send(self, messages: int) -> None:
        """So many more messages, over some tens of connections at once, ten or so in each."""
        until = self.accepted + messages
        await asyncio.gather(*(self._peer(until) for _ in range(self._count)))

    async def _peer(self, until: int) -> None:
        while self.accepted < until:
            number = next(self._numbers)
            submits = number % 500 == 1
            port = self._site.sockets["submission" if submits else "smtp"].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._reader_check(await reader.readline(), 220)
            if submits or number % 50 == 2:
                await self._ask(reader, writer, f"EHLO host{number}.example", 250)
                await self._ask(reader, writer, "STARTTLS", 220)
                await writer.start_tls(self._context)
            await self._ask(reader, writer, f"EHLO host{number}.example", 250)
            if submits:
                login = base64.b64encode(b"\0user0@demo.test\0password-user0").decode()
                await self._ask(reader, writer, f"AUTH PLAIN {login}", 235)
            if number % 7 == 3:
                await self._ask(reader, writer, f"NONSENSE {number}", 500)
            for _ in range(self._chance.randrange(1, 20)):
                await self._message(reader, writer, submits)
            if number % 3:
                await self._ask(reader, writer, "QUIT", 221)
            writer.close()

    async def _message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, submits: bool) -> None:
        number = next(self._numbers)
        sender = "user0@demo.test" if submits else f"sender{number}@domain{number % 100_000}.example"
        writer.write(
            f"MAIL FROM:<{sender}>\r\nRCPT TO:<guess{number}@demo.test>\r\n"
            f"RCPT TO:<user{number % 3}@demo.test>\r\nDATA\r\n".encode()
        )
        for code in (250, 550, 250, 354):
            self._reader_check(await reader.readline(), code)
        size = 60_000 if number % 500 == 0 else 100
        writer.write(
            b"Subject: %d\r\n\r\n%s\r\n.\r\n"
            % (number, b"x" * 70 + b"\r\n" + b"y" * 70 if size == 100 else b"\r\n".join([b"z" * 70] * (size // 72)))
        )
        self._reader_check(await reader.readline(), 250)
        self.accepted += 1

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, code: int) -> None:
        writer.write(line.encode() + b"\r\n")
        while (said := await reader.readline())[3:4] == b"-":
            pass
        self._reader_check(said, code)

    def _reader_check(self, said: bytes, code: int) -> None:
        assert said.startswith(str(code).encode()), (said, code)


def test_a_worker_does_not_grow_with_what_it_takes(tmp_path: Path) -> None:
    """No queue runs here: full segments are taken away as they come, as the queue does it when all is delivered."""
    site = Site(tmp_path / "site", workers=1)
    site.smtpd.log = Path("/dev/null")
    site.smtpd.start()
    (worker,) = site.smtpd.children()
    peers = Peers(site)
    steps = 6
    curve = []
    try:
        for _ in range(steps):
            uvloop.run(peers.send(MESSAGES // steps))
            curve.append(memory(worker)["Private"])
            for segment in sorted((site.folder / "spool").glob("w*/*.seg"))[:-1]:
                segment.unlink()
            for text in (site.folder / "spool").glob("w*/large/*"):
                text.unlink()
        assert site.smtpd.children() == [worker]  # it is one life that was measured
    finally:
        site.close()
    print(f"{peers.accepted} messages, private memory in MiB after each sixth: {[round(one, 1) for one in curve]}")
    assert min(curve[-2:]) - min(curve[1:3]) < GROWTH


def test_the_tree_at_fifty_connections(tmp_path: Path) -> None:
    """Supervisor, two workers and the queue, after some mail and with TLS and logins among the fifty."""
    dev = Dev(tmp_path / "dev")
    dev.start()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sessions = []
    try:
        for number in range(50):
            submits = number % 5 == 0
            session = smtplib.SMTP("127.0.0.1", dev.submission if submits else dev.smtp, timeout=20)
            sessions.append(session)
            sender = "sender@far.test"
            if submits:
                session.starttls(context=context)
                session.login("user1@demo.test", "password-user1")
                sender = "user1@demo.test"
            for turn in range(3):
                text = message(number * 3 + turn, 1_000_000 if number % 10 == 1 else 4_000)[1]
                session.sendmail(sender, ["user0@demo.test"], text)
        assert dev.process is not None
        pids = [dev.process.pid, *dev.children()]
        assert len(pids) == 4
        shares = [memory(pid)["Pss"] for pid in pids]
    finally:
        for session in sessions:
            session.close()
        assert dev.stop() == 0
    print(f"PSS of the tree at 50 connections: {sum(shares):.0f} MiB: {[round(share, 1) for share in shares]}")
    assert sum(shares) * 1.048576 <= TREE


def _mail(line: Line, text: str = "Subject: x\r\n\r\nhi", sender: str = "a@far.test") -> None:
    line(f"MAIL FROM:<{sender}>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line(f"{text}\r\n.")


def _log_in(line: Line, password: str) -> None:
    line("AUTH PLAIN " + base64.b64encode(f"\0ayse@demo.test\0{password}".encode()).decode())


def _plain(wire: Wire) -> None:
    line = Line(wire)
    _mail(line)
    _mail(line, "Subject: x\r\n\r\n" + "hi there\r\n" * 12_000)  # into a file
    line("QUIT")
    line.close()


def _refused(wire: Wire) -> None:
    line = Line(wire)
    for text in ("MAIL FROM:<a@far.test>", "RCPT TO:<nobody@demo.test>", "RCPT TO:<x@y.test>", "FOO", "MAIL FROM:<<"):
        line(text)
    line("RSET")
    _mail(line, "Subject: x\n\r\n\r\nhi")
    line.close()


def _cut_in_a_text(wire: Wire) -> None:
    line = Line(wire)
    for text in ("MAIL FROM:<a@far.test>", "RCPT TO:<ayse@demo.test>", "DATA"):
        line(text)
    line.send(b"Subject: x\r\n\r\nhi\r\n")
    line.close()


def _chunks(wire: Wire) -> None:
    line = Line(wire)
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line.send(b"BDAT 10 LAST\r\n0123456789")
    line.read()
    line.close()


def _tls(wire: Wire) -> None:
    line = Line(wire)
    line.starttls()
    _mail(line)
    line.close()


def _no_tls_after_all(wire: Wire) -> None:
    line = Line(wire)
    line("STARTTLS")
    line.send(b"no handshake at all\r\n" * 5)
    line.read()
    line.close()


def _submission(wire: Wire) -> None:
    line = Line(wire, Service.SUBMISSIONS)
    _log_in(line, "wrong")
    _log_in(line, "right")
    _mail(line, sender="ayse@demo.test")
    line("QUIT")
    line.close()


def _talks_first(wire: Wire) -> None:
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10) as one:
        one.sendall(b"EHLO early.test\r\n")
        one.recv(1000)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path)
    yield made
    gc.enable()
    made.close()


@pytest.mark.parametrize(
    "session",
    [_plain, _refused, _cut_in_a_text, _chunks, _tls, _no_tls_after_all, _submission, _talks_first],
)
def test_a_session_that_is_over_is_gone_at_once(wire: Wire, session: Callable[[Wire], None]) -> None:
    """Its objects go as their last user goes: the collector, which would stop all sessions, finds nothing to do."""
    session(wire)
    time.sleep(0.1)
    gc.collect()
    gc.disable()
    for _ in range(5):
        session(wire)
    end = time.monotonic() + 10
    while wire.sessions.open:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)  # the loop lets go of its transport a turn later
    assert [one for one in gc.get_objects() if isinstance(one, Server | Dialogue | Transaction)] == []
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        left = [one for one in gc.garbage if type(one).__module__.startswith(("postane", "asyncio", "uvloop"))]
        left += [one for one in gc.garbage if asyncio.iscoroutine(one)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []
