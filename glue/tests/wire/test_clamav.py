"""Mail that a real clamd has scanned while the peer waits for its reply."""

from __future__ import annotations

import base64
import email
import time
from collections.abc import Iterator

import pytest

from postane.config.model import Dns, Limits
from postane.core.peer import Service
from postane.filters.base import Tools
from postane.filters.clamav import ClamAV, Options
from support import clamd
from support.wire import Line, Wire

HEAD = b"From: a@other.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
ATTACHED = (
    HEAD + b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"" + base64.encodebytes(clamd.EICAR).replace(b"\n", b"\r\n")
)


@pytest.fixture(scope="module")
def wire(scanner: clamd.Clamd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    tools = Tools("mx.test", Dns(), time.time)
    one = ClamAV(Options(address=str(scanner.path)), tools)
    service = Wire(tmp_path_factory.mktemp("wire"), Limits(message_size=10_000_000), filters=(one,))
    yield service
    service.close()


def send(line: Line, message: bytes, sender: str = "a@other.example") -> str:
    assert line(f"MAIL FROM:<{sender}>").startswith("250")
    assert line("RCPT TO:<mehmet@demo.test>").startswith("250")
    assert line("DATA").startswith("354")
    line.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    return line.read()


@pytest.mark.parametrize("message", [ATTACHED, HEAD + b"\r\n" + clamd.EICAR + b"\r\n"], ids=["attached", "plain"])
def test_a_virus_is_refused_and_the_session_goes_on(wire: Wire, line: Line, message: bytes) -> None:
    assert send(line, message) == "554 5.7.1 The message holds a virus: Eicar-Test.UNOFFICIAL"
    assert not wire.mail()
    assert send(line, HEAD + b"\r\nclean\r\n").startswith("250")


@pytest.mark.parametrize("size", [100, 1_000_000])  # in memory, and in a file of its own
def test_clean_mail_arrives_as_it_was(wire: Wire, line: Line, size: int) -> None:
    message = HEAD + b"\r\n" + b"0123456789abcde\r\n" * (size // 17)
    assert send(line, message).startswith("250")
    (kept,) = wire.mail()
    octets = kept.read()
    assert octets.endswith(message)
    assert b"X-Postane-Unchecked" not in octets


def test_what_clamd_only_suspects_arrives_marked(wire: Wire, line: Line) -> None:
    assert send(line, HEAD + b"\r\n" + clamd.SUSPECT + b"\r\n").startswith("250")
    (kept,) = wire.mail()
    assert email.message_from_bytes(kept.read())["X-Virus"] == "Heuristics.Postane-Test.UNOFFICIAL"


def test_what_is_too_long_for_clamd_arrives_marked(wire: Wire, line: Line) -> None:
    message = HEAD + b"\r\n" + b"0123456789abcde\r\n" * (clamd.STREAM_MAX // 17 + 100_000)
    assert send(line, message).startswith("250")
    (kept,) = wire.mail()
    assert email.message_from_bytes(kept.read())["X-Postane-Unchecked"] == "clamav"


def test_our_own_users_are_scanned_too(wire: Wire) -> None:
    line = Line(wire, Service.SUBMISSIONS)
    assert line("AUTH PLAIN AGF5c2VAZGVtby50ZXN0AHJpZ2h0").startswith("235")
    assert send(line, ATTACHED, "ayse@demo.test").startswith("554 5.7.1")
    line.close()
