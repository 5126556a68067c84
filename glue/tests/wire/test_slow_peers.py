"""Slow, endless, deaf and vanishing peers: what they cost the service, and that others are served beside them.

Figures are printed (pytest -s); POSTANE_PEERS sets how many peers stand beside.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postane.config.model import Limits
from postane.core.peer import Service
from postane.smtpd import server
from support.served import Served, open_files
from support.wire import Wire

PEERS = int(os.environ.get("POSTANE_PEERS", "2000"))
MIB = 1024 * 1024
ENVELOPE = b"EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<ayse@demo.test>\r\n"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Served]:
    """One whose memory holds nothing of others that could be used again."""
    service = Served(tmp_path / "served")
    yield service
    service.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = Served(tmp_path_factory.mktemp("served"), message_size=30 * MIB, data_timeout=600)
    yield service
    service.close()


def connect(served: Served, number: int = 0, service: Service = Service.SMTP) -> socket.socket:
    """A connection from one of many addresses, forty from each."""
    source = f"127.{1 + number // 10_000}.{number // 40 // 250 % 250}.{1 + number // 40 % 250}"
    return socket.create_connection(("127.0.0.1", served.ports[service]), 20, source_address=(source, 0))


def greeted(served: Served, number: int = 0) -> socket.socket:
    peer = connect(served, number)
    assert peer.recv(200).startswith(b"220")
    return peer


def in_data(served: Served) -> socket.socket:
    """A peer that may send a text."""
    peer = greeted(served)
    peer.sendall(ENVELOPE + b"DATA\r\n")
    said = b""
    while b"\r\n354 " not in said:
        said += peer.recv(4096)
    return peer


def settled(served: Served, *, sessions: int = 0) -> dict[str, int]:
    end = time.monotonic() + 15
    while (state := served.state())["sessions"] != sessions:
        assert time.monotonic() < end, state
        time.sleep(0.02)
    return state


def test_a_greeting_beside_peers_that_drip(fresh: Served) -> None:
    """2,000 peers of which each says an octet now and then: in a command, in a text, in a chunk."""
    open_files(2 * PEERS + 500)
    before = fresh.memory()
    beginnings = (b"", b"EHLO ", ENVELOPE, ENVELOPE + b"DATA\r\n", ENVELOPE + b"BDAT 100000\r\n")
    peers = [greeted(fresh, number) for number in range(PEERS)]
    for number, peer in enumerate(peers):
        peer.sendall(beginnings[number % len(beginnings)])
    settled(fresh, sessions=PEERS)
    waits = []
    used = fresh.processor()
    for turn in range(20):
        for peer in peers[turn::4]:
            peer.send(b"x")
        begun = time.monotonic()
        one = greeted(fresh, 500_000)
        waits.append(time.monotonic() - begun)
        one.close()
    used = (fresh.processor() - used) / (5 * PEERS)
    waits.sort()
    grown = (fresh.memory() - before) / PEERS
    print(f"\n{PEERS} dripping peers: a greeting after {waits[10] * 1000:.1f} ms, at most {waits[-1] * 1000:.1f} ms;")
    print(f"{used * 1e6:.0f} us of processor for an octet, {grown / 1024:.1f} KiB of memory for a peer")
    for peer in peers:
        peer.close()
    assert waits[-1] < 1.0
    assert grown < 64 * 1024
    settled(fresh)


def test_idle_connections(fresh: Served) -> None:
    """At most 10 KiB for a plain one; what a TLS one costs is printed."""
    open_files(4000)
    context = ssl.create_default_context(cafile=str(fresh.folder / "mx.pem"))

    def idle(number: int, service: Service) -> socket.socket:
        peer = connect(fresh, number, service)
        if service is Service.SUBMISSIONS:
            peer = context.wrap_socket(peer, server_hostname="mx.test")
        assert peer.recv(200).startswith(b"220")
        peer.sendall(b"EHLO x\r\n")
        assert peer.recv(2000).startswith(b"250")
        return peer

    costs = {}
    peers: list[socket.socket] = []
    for service, count in ((Service.SMTP, 1000), (Service.SUBMISSIONS, 200)):
        peers += [idle(len(peers) + number, service) for number in range(50)]  # what is needed once for all
        before = fresh.memory()
        peers += [idle(len(peers) + number, service) for number in range(count)]
        costs[service] = (fresh.memory() - before) / count / 1024
    print(f"\nidle: {costs[Service.SMTP]:.1f} KiB a plain connection, {costs[Service.SUBMISSIONS]:.1f} KiB with TLS")
    for peer in peers:
        peer.close()
    assert costs[Service.SMTP] < 10
    assert costs[Service.SUBMISSIONS] < 100
    settled(fresh)


# (what is said first, what then comes without end)
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "command line": (b"", b"x" * 65_536),
    "command line with bare CR": (b"", b"x\r" * 32_768),
    "line of a text": (ENVELOPE + b"DATA\r\n", b"x" * 65_536),
    "text": (ENVELOPE + b"DATA\r\n", b"0123456789abcdef" * 4 + b"\r\n"),
    "text of dots": (ENVELOPE + b"DATA\r\n", b"..\r\n" * 10_000),
    "text of line ends": (ENVELOPE + b"DATA\r\n", b"\r\n" * 20_000),
    "refused text": (ENVELOPE + b"DATA\r\n", b"\0123456789abcdef" * 4 + b"\r\n"),
    "chunk": (ENVELOPE + b"BDAT 90000000\r\n", b"x" * 998 + b"\r\n"),
    "refused chunk": (b"EHLO x\r\nBDAT 90000000\r\n", b"x" * 998 + b"\r\n"),
    "login": (b"EHLO x\r\n", b"x" * 65_536),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_costs_little_memory(served: Served, name: str) -> None:
    first, then = ENDLESS[name]
    then *= max(1, 65_536 // len(then))
    before = most = served.memory()
    peer = greeted(served)
    peer.sendall(first)
    time.sleep(0.05)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 48 * MIB:
            peer.sendall(then)
            sent += len(then)
            if sent // MIB != (sent - len(then)) // MIB:
                most = max(most, served.memory())
    print(f"\nendless {name}: {sent // MIB} MiB sent, {(most - before) / MIB:.1f} MiB of memory")
    peer.close()
    assert most - before < 16 * MIB
    assert settled(served) == {"sessions": 0, "mails": 0}


def test_a_text_octet_by_octet_costs_no_more_than_its_octets(fresh: Served) -> None:
    before = fresh.memory()
    peer = in_data(fresh)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line = b"x" * 68 + b"\r\n"
    for number in range(60_000):
        peer.send(line[number % 70 :][:1])
    grown = fresh.memory() - before
    print(f"\na text in 60,000 packets: {grown / 1024:.0f} KiB of memory")
    peer.close()
    assert grown < 4 * MIB
    settled(fresh)


@pytest.mark.parametrize("words", [b"EHLO x\r\n", b"RCPT TO:<ayse@demo.test>\r\n", b"NOOP\r\n", b"WHAT\r\n"])
def test_who_reads_no_replies_is_not_read_from(served: Served, words: bytes) -> None:
    before = served.memory()
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.connect(("127.0.0.1", served.ports[Service.SMTP]))
    time.sleep(0.05)  # it was greeted
    deaf.settimeout(0.5)
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        deaf.sendall(b"EHLO x\r\nMAIL FROM:<a@far.test>\r\n")
        while sent < 32 * MIB:
            deaf.sendall(words * 1000)
            sent += 1000 * len(words)
    grown = served.memory() - before
    with greeted(served, 1) as other:
        other.sendall(b"QUIT\r\n")
        assert other.recv(100).startswith(b"221")
    deaf.close()
    print(f"\ndeaf, {words.decode().strip()}: {sent / MIB:.1f} MiB were taken, {grown / 1024:.0f} KiB of memory")
    assert grown < 16 * MIB
    settled(served)


def test_who_does_not_read_the_farewell_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FAREWELL", 0.2)
    wire = Wire(tmp_path, Limits(idle_commands=15_000))
    try:
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(("127.0.0.1", wire.ports[Service.SMTP]))
        time.sleep(0.05)  # it was greeted
        deaf.settimeout(0.3)
        # One block, whose replies are more than any window takes, and whose last one is a farewell.
        with wire.held(), contextlib.suppress(ConnectionError, TimeoutError):
            deaf.sendall(b"EHLO x\r\n" * 30_000)
        gone(wire)
        deaf.close()
    finally:
        wire.close()


def test_a_long_group_is_worked_through(wire: Wire) -> None:
    """More than one block of commands, with look-ups in between."""
    wire.mail()
    mail = ENVELOPE[8:] + b"BDAT 2000 LAST\r\n" + (b"x" * 98 + b"\r\n") * 20
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 20) as peer:
        replies = peer.makefile("rb")
        replies.readline()
        peer.sendall(b"HELO x\r\n" + mail * 300 + b"QUIT\r\n")
        assert [line[:3] for line in replies] == [b"250"] * 901 + [b"221"]
    assert len(wire.mail()) == 300


def gone(wire: Wire) -> None:
    end = time.monotonic() + 10
    while wire.sessions.open:
        assert time.monotonic() < end
        time.sleep(0.01)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


WHOLE = ENVELOPE + b"DATA\r\n" + b"Subject: x\r\n\r\nhello\r\n.\r\n" + b"QUIT\r\n"


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_who_leaves_in_the_middle_keeps_nothing(wire: Wire, end: Callable[[socket.socket], None]) -> None:
    """At every octet of a session: no place is kept, no half message is taken, no file is left."""
    wire.mail()
    whole = 0
    for length in range(0, len(WHOLE) + 1):
        peer = socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10)
        replies = peer.makefile("rb")
        assert replies.readline().startswith(b"220")
        data = WHOLE.index(b"DATA\r\n") + 6
        peer.sendall(WHOLE[: min(length, data)])
        if length >= data:
            while not replies.readline().startswith(b"354"):
                pass
            peer.sendall(WHOLE[data:length])
        whole += length >= len(WHOLE) - 6
        replies.close()
        end(peer)
    gone(wire)
    mails = wire.mail()
    assert len(mails) <= whole
    assert all(mail.read().endswith(b"Subject: x\r\n\r\nhello\r\n") for mail in mails)
    assert not list((wire.folder / "spool").glob("*/large/*"))
    assert wire.spool._coming == 0  # no commit waits for a text that will not come


def test_a_half_closed_connection_is_answered(wire: Wire) -> None:
    """Whoever says all it has and closes its side still reads what became of it."""
    whole = WHOLE.replace(b"hello", b"half!")  # what peers before us left behind may still be on its way
    for length in (len(WHOLE), len(WHOLE) - 6):
        with socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10) as peer:
            replies = peer.makefile("rb")
            assert replies.readline().startswith(b"220")
            data = WHOLE.index(b"DATA\r\n") + 6
            peer.sendall(whole[:data])
            while not replies.readline().startswith(b"354"):
                pass
            peer.sendall(whole[data:length])
            peer.shutdown(socket.SHUT_WR)
            assert [line[:3] for line in replies] == [b"250", b"221"][: 1 + (length == len(WHOLE))]
    assert sum(b"half!" in mail.read() for mail in wire.mail()) == 2


def test_a_half_closed_connection_in_a_look_up(wire: Wire) -> None:
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10) as peer:
        replies = peer.makefile("rb")
        replies.readline()
        with wire.held():  # so that the last octet and the end come together
            peer.sendall(ENVELOPE)
            peer.shutdown(socket.SHUT_WR)
        assert [line[:4] for line in replies if line[3:4] == b" "] == [b"250 ", b"250 ", b"250 "]
