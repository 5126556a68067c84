"""Every limit of `smtp.limits` on a real connection: what is said when it is passed, and that the session then is in
step or closed. docs/reference/smtp.md lists them."""

from __future__ import annotations

import base64
import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import fields

from postane.config.model import Limits
from postane.core.peer import Service
from support.dev import Dev
from support.wire import Line, Wire

SENDER, RECIPIENT = "MAIL FROM:<a@far.test>", "RCPT TO:<ayse@demo.test>"

Serve = Callable[[Limits], Wire]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A service with the limits of one test."""
    services: list[Wire] = []

    def start(limits: Limits) -> Wire:
        folder = tmp_path / str(len(services))
        folder.mkdir()
        services.append(Wire(folder, limits))
        return services[-1]

    yield start
    for service in services:
        service.close()


def closes(line: Line, code: str) -> None:
    """The next replies end with this one, and then the connection."""
    last = reply = line.read()
    while reply:
        last, reply = reply, line.read()
    assert last.startswith(code), last


def test_all_limits_are_documented_and_tested() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/smtp.md").read_text()
    here = Path(__file__).read_text() + Path(__file__).with_name("test_smtp.py").read_text()
    for field in fields(Limits):
        assert f"`{field.name}`" in page, f"{field.name} is not in docs/reference/smtp.md"
        assert f"{field.name}=" in here, f"{field.name} has no dialogue"


def test_command_line(serve: Serve) -> None:
    line = Line(serve(Limits(command_line=200)))
    assert line("NOOP " + "x" * 193).startswith("250")  # 200 octets with CRLF
    assert line("NOOP " + "x" * 194).startswith("500 5.5.6")
    assert line("NOOP").startswith("250")


def test_text_line(serve: Serve) -> None:
    wire = serve(Limits(text_line=200))
    line = Line(wire)
    for length, code in ((200, "250"), (201, "550 5.6.0"), (100_000, "550 5.6.0")):
        line(SENDER)
        line(RECIPIENT)
        line("DATA")
        assert line("x" * length + "\r\n.").startswith(code)
    assert len(wire.mail()) == 1


def test_message_size(serve: Serve) -> None:
    wire = serve(Limits(message_size=1000, text_line=10_000))
    line = Line(wire)
    assert "SIZE 1000" in line.ehlo
    assert line(SENDER + " SIZE=1001").startswith("552 5.3.4")
    for length, code in ((998, "250"), (999, "552 5.3.4")):
        line(SENDER)
        line(RECIPIENT)
        line("DATA")
        assert line("x" * length + "\r\n.").startswith(code)
    line(SENDER)
    line(RECIPIENT)
    line.send(b"BDAT 1001 LAST\r\n" + b"x" * 1001)
    assert line.read().startswith("552 5.3.4")
    assert line("NOOP").startswith("250")
    assert len(wire.mail()) == 1


def test_recipients(serve: Serve) -> None:
    """RFC 5321 section 4.5.3.1.10: 452, and those before it are served."""
    wire = serve(Limits(recipients=3))
    line = Line(wire)
    line(SENDER)
    people = ("ayse", "mehmet", "ayse+a", "ayse+b")
    assert [line(f"RCPT TO:<{name}@demo.test>")[:9] for name in people] == ["250 2.1.5"] * 3 + ["452 4.5.3"]
    assert line("DATA").startswith("354")
    assert line("x\r\n.").startswith("250")
    assert len(wire.mail()) == 1


def test_two_hundred_thousand_recipients(serve: Serve) -> None:
    wire = serve(Limits(recipients=100))
    line = Line(wire)
    line(SENDER)
    with contextlib.suppress(ConnectionError):
        for number in range(200):
            line.send(
                b"".join(b"RCPT TO:<ayse+%d@demo.test>\r\n" % n for n in range(number * 1000, number * 1000 + 1000))
            )
    said = []
    while reply := line.read():
        said.append(reply[:3])
    assert said == ["250"] * 100 + ["452"] * 1000 + ["421"]


def test_two_thousand_address_guesses(serve: Serve) -> None:
    line = Line(serve(Limits(unknown_recipients=20)))
    line(SENDER)
    with contextlib.suppress(ConnectionError):
        line.send(b"".join(b"RCPT TO:<guess%d@demo.test>\r\n" % n for n in range(2000)))
    said = []
    while reply := line.read():
        said.append(reply[:9])
    assert said == ["550 5.1.1"] * 20 + ["421 4.7.0"]


@pytest.mark.parametrize("octet", [b"\0", b"\r", b"\n"])
def test_what_may_be_in_no_address(wire: Wire, octet: bytes) -> None:
    wire.mail()
    line = Line(wire)
    line.send(b"MAIL FROM:<a%bb@far.test>\r\n" % octet)
    assert line.read().startswith("500 5.5.2")
    assert line.read() == ""
    assert wire.mail() == []


@pytest.mark.parametrize("octet", range(1, 32))
def test_control_characters_are_in_no_address(wire: Wire, octet: int) -> None:
    if octet in b"\r\n":
        return
    line = Line(wire)
    for local in (b"a%cb" % octet, b'"a%cb"' % octet, b'"a\\%cb"' % octet):
        line.send(b"MAIL FROM:<%b@far.test>\r\n" % local)
        assert line.read()[:3] in ("501", "553")
    line.close()


def test_errors(serve: Serve) -> None:
    line = Line(serve(Limits(errors=5)))
    line.send(b"WHAT\r\n" * 50)
    assert [line.read()[:3] for _ in range(6)] == ["500"] * 5 + ["421"]
    assert line.read() == ""


def test_idle_commands(serve: Serve) -> None:
    line = Line(serve(Limits(idle_commands=5)))
    line.send(b"NOOP\r\nRSET\r\nHELP\r\nEHLO x\r\nNOOP\r\nNOOP\r\n")
    assert [line.read()[:3] for _ in range(6)] == ["250", "250", "214", "250", "250", "421"]
    assert line.read() == ""


def test_logins(serve: Serve) -> None:
    line = Line(serve(Limits(logins=2)), Service.SUBMISSIONS)
    wrong = base64.b64encode(b"\0ayse@demo.test\0wrong").decode()
    assert line(f"AUTH PLAIN {wrong}").startswith("535")
    assert line(f"AUTH PLAIN {wrong}").startswith("535")
    closes(line, "421 4.7.0")


def test_transactions(serve: Serve) -> None:
    wire = serve(Limits(transactions=2))
    line = Line(wire)
    for _ in range(2):
        line(SENDER)
        line(RECIPIENT)
        line("DATA")
        assert line("x\r\n.").startswith("250")
    assert line(SENDER).startswith("421 4.7.0")
    assert line.read() == ""
    assert len(wire.mail()) == 2


def test_received_hops(serve: Serve) -> None:
    line = Line(serve(Limits(received_hops=3)))
    for hops, code in ((3, "250"), (4, "554 5.4.6")):
        line(SENDER)
        line(RECIPIENT)
        line("DATA")
        assert line("Received: by x\r\n" * hops + "\r\nx\r\n.").startswith(code)


def test_connections_and_connections_per_peer(serve: Serve) -> None:
    wire = serve(Limits(connections=3, connections_per_peer=2))
    lines = [Line(wire), Line(wire)]
    for service in (Service.SMTP, Service.SUBMISSION):  # all doors count together
        third = Line(wire, service, hello=False)
        assert third.greeting.startswith("421 4.3.2")
        assert third.read() == ""
    lines.append(Line(wire, source="127.0.0.2"))
    assert Line(wire, source="127.0.0.3", hello=False).greeting.startswith("421 4.3.2")
    for line in lines:
        assert line("QUIT").startswith("221")
    wait_for(lambda: wire.sessions.open == 0)
    assert Line(wire, source="127.0.0.3").greeting.startswith("220")


def test_a_peer_without_a_place_is_not_listened_to(serve: Serve) -> None:
    wire = serve(Limits(connections_per_peer=1))
    first = Line(wire)
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10) as second:
        second.sendall(f"EHLO x\r\n{SENDER}\r\n{RECIPIENT}\r\nBDAT 1 LAST\r\nx".encode())
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while octets := second.recv(1000):
                said += octets
    assert said.count(b"\r\n") == 1
    assert first("NOOP").startswith("250")
    assert wire.mail() == []


def test_a_peer_counts_before_its_handshake(serve: Serve) -> None:
    wire = serve(Limits(connections_per_peer=3, handshake_timeout=1.0))
    address = ("127.0.0.1", wire.ports[Service.SUBMISSIONS])
    silent = [socket.create_connection(address, 10) for _ in range(3)]
    wait_for(lambda: wire.sessions.open == 3)
    fourth = socket.create_connection(address, 10)
    assert fourth.recv(100) == b""
    assert silent[0].recv(100) == b""  # no handshake came: given up
    wait_for(lambda: wire.sessions.open == 0)
    assert Line(wire, Service.SUBMISSIONS).greeting.startswith("220")
    for one in [*silent, fourth]:
        one.close()


def test_handshake_after_starttls(serve: Serve) -> None:
    wire = serve(Limits(handshake_timeout=0.2))
    line = Line(wire)
    assert line("STARTTLS").startswith("220")
    assert line.socket.recv(100) == b""
    wait_for(lambda: wire.sessions.open == 0)


# (limits, what is said first, what then drips octet by octet)
SLOW = {
    "hello_timeout": (Limits(hello_timeout=0.3), [], b""),
    "hello_timeout, dripping": (Limits(hello_timeout=0.3), [], b"EHLO "),
    "command_timeout": (Limits(command_timeout=0.3), ["EHLO x"], b""),
    "command_timeout, dripping": (Limits(command_timeout=0.3), ["EHLO x"], b"NOOP "),
    "command_timeout, an endless line": (Limits(command_timeout=0.3, command_line=100), ["EHLO x", "x" * 90], b"x"),
    "data_timeout": (Limits(data_timeout=0.3), ["EHLO x", SENDER, RECIPIENT, "DATA"], b""),
    "transaction_timeout, dripping": (Limits(transaction_timeout=0.6), ["EHLO x", SENDER, RECIPIENT, "DATA"], b"x\r\n"),
    "transaction_timeout, chunks": (Limits(transaction_timeout=0.6), ["EHLO x", SENDER, RECIPIENT], b"BDAT 1\r\nx"),
    "transaction_timeout, recipients": (Limits(transaction_timeout=0.6), ["EHLO x", SENDER], b"RCPT TO:<>\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_time(serve: Serve, name: str) -> None:
    limits, before, drip = SLOW[name]
    wire = serve(limits)
    line = Line(wire, hello=False)
    for text in before:
        line.send(text.encode() if text.startswith("xx") else text.encode() + b"\r\n")
        if not text.startswith("xx"):
            line.read()
    begun, number = time.monotonic(), 0
    line.socket.settimeout(0.03)
    said = b""
    while True:
        if drip:
            with contextlib.suppress(ConnectionError):
                line.send(drip[number % len(drip) : number % len(drip) + 1])
            number += 1
        with contextlib.suppress(TimeoutError):
            try:
                octets = line.socket.recv(10_000)
            except ConnectionResetError:  # a last octet met the closed connection
                break
            if not octets:
                break
            said += octets
        assert time.monotonic() - begun < 5, "never given up"
        wire.each_door(lambda door: door.sweep(time.monotonic()))
    assert said.splitlines()[-1].startswith(b"421 4.4.2"), said
    assert time.monotonic() - begun > 0.2
    wait_for(lambda: wire.sessions.open == 0)


def test_time_is_given_anew_with_each_command(serve: Serve) -> None:
    wire = serve(Limits(command_timeout=0.8, data_timeout=0.8))
    line = Line(wire)
    for text in ("NOOP", SENDER, RECIPIENT, "DATA", "x", "y", "z", "."):
        time.sleep(0.2)
        wire.each_door(lambda door: door.sweep(time.monotonic()))
        line.send(text.encode() + b"\r\n")
        if text not in ("x", "y", "z"):
            assert line.read()[:3] in ("250", "354")
    assert len(wire.mail()) == 1


def test_bare_newline(serve: Serve) -> None:
    wire = serve(Limits(bare_newline="normalize"))
    line = Line(wire)
    line(SENDER)
    line(RECIPIENT)
    line("DATA")
    line.send(b"Subject: x\n\n.a\rb\n.\nc\r\n.\r\n")
    assert line.read().startswith("250")
    (mail,) = wire.mail()
    assert mail.read().endswith(b"Subject: x\r\n\r\n.a\r\nb\r\n.\r\nc\r\n")


def test_limits_hold_for_all_workers_together(tmp_path: Path) -> None:
    """Fifty sessions of one peer, whichever of two workers took them."""
    dev = Dev(tmp_path / "dev", workers=2, accounts=1)
    dev.start()
    try:
        peers = []
        greetings = []
        for _ in range(70):
            peer = socket.create_connection(("127.0.0.1", dev.smtp), 10)
            greetings.append(peer.recv(200)[:3])
            peers.append(peer)
        assert greetings == [b"220"] * 50 + [b"421"] * 20
        for peer in peers:
            peer.close()

        def welcome() -> bool:
            with socket.create_connection(("127.0.0.1", dev.smtp), 10) as peer:
                return peer.recv(200).startswith(b"220")

        wait_for(welcome)
    finally:
        dev.stop()


def test_a_disk_that_is_full_is_said_before_the_text(tmp_path: Path) -> None:
    wire = Wire(tmp_path, reserve=1 << 60)
    try:
        assert Line(wire)(SENDER).startswith("452 4.3.1")
    finally:
        wire.close()


def test_a_disk_that_fills_is_a_matter_of_time(tmp_path: Path) -> None:
    """The kernel refuses every write of the worker: the peer hears 4xx, and is served again when there is room."""
    dev = Dev(tmp_path / "dev", workers=1, accounts=1)
    dev.start()
    try:
        workers = dev.children()
        before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in workers}
        for text in (b"Subject: x\r\n\r\nsmall\r\n", b"Subject: x\r\n\r\n" + b"large, very large\r\n" * 100_000):
            assert deliver(dev, text).startswith("354 250")
            for pid in workers:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[pid][1]))
            assert deliver(dev, text).startswith("354 45")
            for pid in workers:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before[pid])
            assert deliver(dev, text).startswith("354 250")
    finally:
        dev.stop()


def deliver(dev: Dev, text: bytes) -> str:
    """The last replies to a message: to DATA and to the text, if it came so far."""
    with socket.create_connection(("127.0.0.1", dev.smtp), 20) as peer:
        replies = peer.makefile("rb")
        assert replies.readline().startswith(b"220")
        for command in (b"HELO x", b"MAIL FROM:<a@far.test>", b"RCPT TO:<user0@demo.test>", b"DATA"):
            peer.sendall(command + b"\r\n")
            reply = replies.readline()
            if reply[:1] not in b"23":
                return reply.decode()
        peer.sendall(text + b".\r\n")
        return f"354 {replies.readline().decode()}"


def wait_for(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)
