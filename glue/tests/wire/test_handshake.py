"""TLS handshakes of hasty, broken and vanishing peers: nothing is lost, and nobody keeps a place."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import Callable

import pytest

from postane.core.peer import Service
from support.peers import Peer, at_once
from support.wire import Line, Wire


class Memory:
    """A TLS client whose octets leave when the test says so."""

    def __init__(self, wire: Wire, connection: socket.socket) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = wire.context.wrap_bio(self._in, self._out, server_hostname="mx.test")
        self._socket = connection

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    def finish(self, *texts: bytes) -> bytes:
        """The last octets of the handshake, and what is said right behind them."""
        while True:
            self._in.write(self._socket.recv(65_536))
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        for text in texts:
            self._tls.write(text)
        return self._out.read()

    def read(self) -> bytes:
        while True:
            try:
                return self._tls.read()
            except ssl.SSLWantReadError:
                self._in.write(self._socket.recv(65_536))


def test_ehlo_in_the_last_packet_of_the_handshake(wire: Wire, line: Line) -> None:
    """A client may speak as soon as its own Finished is written (RFC 8446 section 4.4.4)."""
    assert line("STARTTLS").startswith("220")
    tls = Memory(wire, line.socket)
    line.send(tls.hello())
    line.send(tls.finish(b"EHLO client.test\r\n"))
    assert tls.read().startswith(b"250-mx.test\r\n")


def test_a_handshake_in_many_packets(wire: Wire) -> None:
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SUBMISSIONS]), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = Memory(wire, connection)
        for octet in tls.hello():
            connection.sendall(bytes([octet]))
        connection.sendall(tls.finish())
        assert tls.read().startswith(b"220 mx.test")


def test_commands_in_clear_behind_starttls_are_no_commands(wire: Wire, line: Line) -> None:
    """In a packet of their own they meet the handshake, which fails."""
    assert line("STARTTLS").startswith("220")
    line.send(b"EHLO evil\r\nMAIL FROM:<evil@far.test>\r\n")
    assert b"250" not in line.socket.recv(1000)
    gone(wire)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("end", [socket.socket.close, reset])
@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("service", [Service.SMTP, Service.SUBMISSIONS])
def test_who_vanishes_in_the_handshake_keeps_no_place(
    wire: Wire, service: Service, said: bytes, end: Callable[[socket.socket], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", wire.ports[service]), 10)
        if service is Service.SMTP:
            connection.recv(1000)
            connection.sendall(b"STARTTLS\r\n")
            assert connection.recv(1000).startswith(b"220")
        if said:
            connection.sendall(said)
        end(connection)
    gone(wire)
    assert "session_failed" not in capsys.readouterr().out


def test_many_handshakes_at_once(wire: Wire) -> None:
    async def talk(number: int) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", wire.ports[Service.SUBMISSIONS], ssl=wire.context, server_hostname="mx.test"
        )
        peer = Peer(reader, writer)
        assert await peer.codes(1) == ["220"]
        assert await peer.in_step()
        peer.close()

    asyncio.run(at_once(talk, range(200), 40))
    gone(wire)


def gone(wire: Wire) -> None:
    end = time.monotonic() + 10
    while wire.sessions.open:
        assert time.monotonic() < end, f"{wire.sessions.open} sessions are still counted"
        time.sleep(0.01)
