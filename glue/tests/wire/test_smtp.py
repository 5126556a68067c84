"""Dialogues on a real connection: what a peer says and reads, and what lies in the spool afterwards."""

from __future__ import annotations

import base64
import contextlib
import smtplib
import ssl
import threading
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from postane.config.model import Dns, Limits
from postane.core.envelope import Envelope
from postane.core.peer import Peer, Service
from postane.core.ports import Body
from postane.core.verdict import ACCEPT, Verdict
from postane.filters.base import Filter, Options, Tools
from postane.filters.case import FilterCase
from support.wire import Line, Wire


def plain(login: str, password: str) -> str:
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def test_a_mail_from_outside(wire: Wire, line: Line) -> None:
    assert line.greeting.startswith("220 mx.test ESMTP")
    for word in ("PIPELINING", "SIZE 200000", "8BITMIME", "SMTPUTF8", "STARTTLS", "ENHANCEDSTATUSCODES", "DSN"):
        assert f"250-{word}" in line.ehlo or f"250 {word}" in line.ehlo
    assert "AUTH" not in line.ehlo
    assert line("MAIL FROM:<a@far.test> SIZE=60 RET=HDRS ENVID=e1").startswith("250 2.1.0")
    assert line("RCPT TO:<Ayse+list@DEMO.test> NOTIFY=FAILURE").startswith("250 2.1.5")
    assert line("DATA").startswith("354")
    reply = line("Subject: hello\r\n\r\n..dots\r\nbye\r\n.")
    (message,) = wire.mail()
    envelope = message.envelope
    assert reply == f"250 2.0.0 OK {envelope.id}"
    assert envelope.sender == "a@far.test"
    assert [(r.address, r.original, r.kind) for r in envelope.recipients] == [
        ("ayse@demo.test", "Ayse+list@DEMO.test", "local")
    ]
    assert (envelope.ret, envelope.envid, envelope.client_ip, envelope.helo) == (
        "HDRS",
        "e1",
        "127.0.0.1",
        "client.test",
    )
    head, _, text = message.read().partition(b"Subject: ")
    assert text == b"hello\r\n\r\n.dots\r\nbye\r\n"
    assert head.startswith(b"Received: from client.test ([127.0.0.1])\r\n\tby mx.test (Postane) with ESMTP\r\n\tid ")
    assert b"for <Ayse+list@DEMO.test>; " in head


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("nobody@demo.test", "550 5.1.1"),
        ("x@far.test", "554 5.7.1"),
        ("ayse@sub.demo.test", "554 5.7.1"),
        ('"a b"@demo.test', "550 5.1.1"),
        ("ayse@demo.test@far.test", "501 5.1.3"),
        ("ayse%far.test@demo.test", "550 5.1.1"),
        ("postmaster", "250"),
        ("AYSE@Demo.Test", "250"),
    ],
)
def test_recipients_are_refused_before_data(line: Line, recipient: str, code: str) -> None:
    line("MAIL FROM:<>")
    assert line(f"RCPT TO:<{recipient}>").startswith(code)


def test_an_alias_to_a_mailbox_and_away(wire: Wire, line: Line) -> None:
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<info@demo.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line("x\r\n.")
    (message,) = wire.mail()
    assert [(r.address, r.kind) for r in message.envelope.recipients] == [
        ("ayse@demo.test", "local"),
        ("away@far.test", "remote"),
    ]


def test_utf8_mailbox(wire: Wire, line: Line) -> None:
    assert line("MAIL FROM:<é@far.test> SMTPUTF8").startswith("250")
    assert line("RCPT TO:<ÇİĞDEM@demo.test>").startswith("250")  # as Turkish writes it in capitals
    assert line("RCPT TO:<Çiğdem@demo.test>").startswith("250")
    line("DATA")
    assert line("Subject: ş\r\n\r\nx\r\n.").startswith("250")
    (message,) = wire.mail()
    assert message.envelope.smtputf8
    assert b"with UTF8SMTP\r\n" in message.read()


def test_empty_and_headless_mail(wire: Wire, line: Line) -> None:
    for text in (".", "no header at all\r\n."):
        line("MAIL FROM:<>")
        line("RCPT TO:<ayse@demo.test>")
        line("DATA")
        assert line(text).startswith("250")
    assert [m.read().split(b"\r\n", 3)[-1] for m in wire.mail()] == [b"", b"no header at all\r\n"]


def large_files(wire: Wire) -> set[Path]:
    return set((wire.folder / "spool").glob("*/large/*"))


def test_too_big_is_refused_at_size_and_at_the_end(wire: Wire, line: Line) -> None:
    assert line("MAIL FROM:<a@far.test> SIZE=200001").startswith("552 5.3.4")
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line.send(b"x" * 70 + b"\r\n")
    for _ in range(300):
        line.send(b"y" * 998 + b"\r\n")
    assert line(".").startswith("552 5.3.4")
    assert line("NOOP").startswith("250")
    assert wire.mail() == []
    assert large_files(wire) == set()


def test_a_large_mail(wire: Wire, line: Line) -> None:
    body = b"".join(b"%070d\r\n" % number for number in range(2000))
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line.send(body)
    assert line(".").startswith("250")
    (message,) = wire.mail()
    assert message.read().endswith(body)


@pytest.mark.parametrize("text", [b"a\nb\r\n.\r\n", b"a\r.\r\n.\r\n", b"a\n.\nMAIL FROM:<evil@x>\r\n.\r\n"])
def test_bare_newlines_are_refused(wire: Wire, line: Line, text: bytes) -> None:
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line.send(text)
    assert line.read().startswith("550 5.6.11")
    assert wire.mail() == []
    assert line("NOOP").startswith("250")


def test_nul_is_refused(wire: Wire, line: Line) -> None:
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    assert line("a\0b\r\n.").startswith("550 5.6.0")
    assert wire.mail() == []


def test_a_loop_is_ended(wire: Wire, line: Line) -> None:
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    assert line("Received: by x\r\n" * 60 + "\r\nx\r\n.").startswith("554 5.4.6")
    assert wire.mail() == []


def test_starttls(wire: Wire, line: Line) -> None:
    line.starttls()
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    assert line("x\r\n.").startswith("250")
    (message,) = wire.mail()
    assert b"with ESMTPS\r\n\t(version=TLSv1.3 cipher=TLS_" in message.read()


def test_submission(wire: Wire) -> None:
    wire.mail()
    line = Line(wire, Service.SUBMISSION)
    assert "AUTH" not in line.ehlo
    assert line("MAIL FROM:<ayse@demo.test>").startswith("530 5.7.0")
    assert line(f"AUTH PLAIN {plain('ayse@demo.test', 'right')}").startswith("538 5.7.11")
    line.starttls()
    assert line("MAIL FROM:<ayse@demo.test>").startswith("530 5.7.0")
    assert line(f"AUTH PLAIN {plain('ayse@demo.test', 'wrong')}").startswith("535 5.7.8")
    assert line(f"AUTH PLAIN {plain('ayse@demo.test', 'right')}").startswith("235 2.7.0")
    assert line("MAIL FROM:<mehmet@demo.test>").startswith("553 5.7.1")
    assert line("MAIL FROM:<ayse+x@demo.test>").startswith("250")
    assert line("RCPT TO:<someone@far.test>").startswith("250")
    assert line("RCPT TO:<nobody@demo.test>").startswith("550 5.1.1")
    assert line("RCPT TO:<x@nodots>").startswith("550 5.1.2")
    line("DATA")
    assert line("From: ayse@demo.test\r\n\r\nx\r\n.").startswith("250")
    (message,) = wire.mail()
    assert message.envelope.login == "ayse@demo.test"
    assert [(r.address, r.kind) for r in message.envelope.recipients] == [("someone@far.test", "remote")]
    assert message.read().startswith(b"X-Signed: demo.test\r\nReceived: ")
    assert b"with ESMTPSA\r\n" in message.read()
    line.close()


def test_a_mail_that_cannot_be_signed_waits(wire: Wire) -> None:
    wire.mail()
    line = Line(wire, Service.SUBMISSIONS)
    line(f"AUTH PLAIN {plain('ayse@demo.test', 'right')}")
    line("MAIL FROM:<ayse@demo.test>")
    line("RCPT TO:<someone@far.test>")
    line("DATA")
    wire.signer.broken = True
    try:
        assert line("x\r\n.").startswith("451 4.7.5")
    finally:
        wire.signer.broken = False
    assert wire.mail() == []
    line.close()


def test_what_filters_said_of_one_transaction_is_forgotten_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class Noting(FilterCase):
        async def mail(self, peer: Peer, sender: str, wishes: tuple[str, ...] = ()) -> Verdict:
            begun.append(sender)
            return await super().mail(peer, sender, wishes)

    class Content(Filter[Options]):
        async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
            return ACCEPT

    monkeypatch.setattr("support.wire.FilterCase", Noting)
    service = Wire(tmp_path, filters=(Content(Options(), Tools("mx.test", Dns(), time.time)),))
    try:
        line = Line(service, Service.SUBMISSIONS)
        line(f"AUTH PLAIN {plain('ayse@demo.test', 'right')}")
        for tag in ("", "+x", "+y"):
            line(f"MAIL FROM:<ayse{tag}@demo.test>")
            line("RCPT TO:<someone@far.test>")
            line("DATA")
            assert line("x\r\n.").startswith("250")
        line.close()
    finally:
        service.close()
    assert begun == ["ayse+x@demo.test", "ayse+y@demo.test"]  # of the first nothing was said before


def test_who_hangs_up_while_the_mail_is_signed_takes_it_from_nobodys_hands(wire: Wire) -> None:
    before, seen, sign = large_files(wire), [], wire.signer.sign
    begun, gone = threading.Event(), threading.Event()

    def slowly(domain: str, head: bytes, body: Body) -> bytes:
        begun.set()
        gone.wait(5)
        seen.append(body.bytes())
        return sign(domain, head, body)

    line = Line(wire, Service.SUBMISSIONS)
    line(f"AUTH PLAIN {plain('ayse@demo.test', 'right')}")
    line("MAIL FROM:<ayse@demo.test>")
    line("RCPT TO:<someone@far.test>")
    line("DATA")
    wire.signer.sign = slowly  # type: ignore[method-assign]
    try:
        text = b"".join(b"%0900d\r\n" % n for n in range(100))
        line.send(text + b".\r\n")
        assert begun.wait(5)
        line.close()
        deadline = time.monotonic() + 5
        while wire.sessions.open and time.monotonic() < deadline:
            time.sleep(0.01)
        gone.set()
        while (not seen or large_files(wire) != before) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        wire.signer.sign = sign  # type: ignore[method-assign]
    assert seen == [text]
    assert large_files(wire) == before
    assert wire.mail() == []


def test_a_directory_that_is_away_defers(wire: Wire, line: Line) -> None:
    wire.people.broken = True
    try:
        line("MAIL FROM:<a@far.test>")
        assert line("RCPT TO:<ayse@demo.test>").startswith("451 4.3.0")
    finally:
        wire.people.broken = False
    assert line("RCPT TO:<ayse@demo.test>").startswith("250")


def test_the_standard_client_is_at_home(wire: Wire) -> None:
    wire.mail()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ayse@demo.test", "mehmet@demo.test", "Merhaba"
    message.set_content("Şöyle böyle.\n")
    with smtplib.SMTP_SSL("127.0.0.1", wire.ports[Service.SUBMISSIONS], context=_for_localhost(wire)) as client:
        client.login("ayse@demo.test", "right")
        client.send_message(message)
    assert len(wire.mail()) == 1


def _for_localhost(wire: Wire) -> ssl.SSLContext:
    context = wire.context
    context.check_hostname = False
    return context


def test_a_pipelined_group_on_the_wire(wire: Wire, line: Line) -> None:
    line.send(b"MAIL FROM:<a@far.test>\r\nRCPT TO:<ayse@demo.test>\r\nRCPT TO:<nobody@demo.test>\r\nDATA\r\n")
    assert [line.read()[:3] for _ in range(4)] == ["250", "250", "550", "354"]
    line.send(b"x\r\n.\r\nQUIT\r\n")
    assert [line.read()[:3] for _ in range(2)] == ["250", "221"]
    assert line.read() == ""
    assert len(wire.mail()) == 1


def test_a_lost_connection_leaves_nothing(wire: Wire, line: Line) -> None:
    before = large_files(wire)
    line("MAIL FROM:<a@far.test>")
    line("RCPT TO:<ayse@demo.test>")
    line("DATA")
    line.send(b"x" * 70 + b"\r\n" + b"".join(b"%0900d\r\n" % n for n in range(100)))
    line.close()
    deadline = time.monotonic() + 5
    while wire.sessions.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.sessions.open == 0
    assert wire.mail() == []
    assert large_files(wire) == before


def test_the_hosts_own_programs_may_send_anywhere(tmp_path: Path) -> None:
    """What Dovecot sends for Sieve: the null sender, to the world, on port 25 alone."""
    service = Wire(tmp_path, relay_from=("127.0.0.0/8", "::1/128"))
    try:
        line = Line(service)
        assert line("MAIL FROM:<>").startswith("250")
        assert line("RCPT TO:<x@far.test>").startswith("250")
        assert line("RCPT TO:<nobody@demo.test>").startswith("550 5.1.1")
        line("DATA")
        assert line("Auto-Submitted: auto-replied\r\n\r\naway\r\n.").startswith("250")
        assert [r.kind for r in service.mail()[0].envelope.recipients] == ["remote"]
        door = Line(service, Service.SUBMISSION)
        door.starttls()
        assert door("MAIL FROM:<>").startswith("530")
        line.close()
        door.close()
    finally:
        service.close()


def test_connections_of_one_peer_are_limited(tmp_path: Path) -> None:
    service = Wire(tmp_path, Limits(connections_per_peer=2))
    try:
        first, second = Line(service), Line(service)
        third = Line(service, hello=False)
        assert third.greeting.startswith("421 4.3.2")
        assert third.read() == ""
        first("QUIT")
        assert first.read() == ""
        assert Line(service, hello=False).greeting.startswith("220")
        second.close()
    finally:
        service.close()


def test_a_silent_peer_is_sent_away(tmp_path: Path) -> None:
    service = Wire(tmp_path, Limits(command_timeout=0.05))
    try:
        line = Line(service)
        time.sleep(0.1)
        service.each_door(lambda door: door.sweep(time.monotonic()))
        assert line.read().startswith("421 4.4.2")
        assert line.read() == ""
    finally:
        service.close()


def test_drain_lets_a_transaction_end(tmp_path: Path) -> None:
    service = Wire(tmp_path)
    try:
        idle, busy = Line(service), Line(service)
        busy("MAIL FROM:<a@far.test>")
        busy("RCPT TO:<ayse@demo.test>")
        service.each_door(lambda door: door.drain())
        assert idle.read().startswith("421 4.3.2")
        assert busy("DATA").startswith("354")
        assert busy("x\r\n.").startswith("250")
        assert busy.read().startswith("421 4.3.2")
        assert len(service.mail()) == 1
    finally:
        service.close()


def test_hanging_up_in_the_handshake_harms_nobody(wire: Wire, line: Line) -> None:
    assert line("STARTTLS").startswith("220")
    line.send(b"this is no handshake\r\n")
    with contextlib.suppress(OSError):
        line.socket.recv(1000)
    line.close()
    other = Line(wire)
    assert other("NOOP").startswith("250")
    other.close()


def test_ipv6_peers_are_counted_by_net() -> None:
    from postane.smtpd.limits import net_of

    assert net_of("2001:db8::1") == net_of("2001:db8::ffff:1") != net_of("2001:db8:0:1::1")
    assert net_of("192.0.2.1") == "192.0.2.1"
