"""Mail that a real clamd has scanned while the peer waits for its reply."""

from __future__ import annotations

import base64
import email
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postane.config.model import Dns, Limits
from postane.core.peer import Service
from postane.filters.base import Tools
from postane.filters.builtin.clamav import ClamAV, Options
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


@pytest.mark.parametrize("policy", ["defer", "skip"])
def test_a_clamd_that_hangs_or_is_gone_lets_nothing_pass_unmarked(
    scanner: clamd.Clamd, tmp_path: Path, policy: Any
) -> None:
    tools = Tools("mx.test", Dns(), time.time)
    options = Options(address=str(scanner.path), timeout=0.5, on_failure=policy)
    gone = Options(address=f"{tmp_path}/none", on_failure=policy)
    for settings, hangs in ((options, True), (gone, False)):
        folder = tmp_path / f"wire{hangs}"
        folder.mkdir()
        service = Wire(folder, filters=(ClamAV(settings, tools),))
        line = Line(service)
        scanner.hang(hangs)
        try:
            reply = send(line, ATTACHED)
        finally:
            scanner.hang(False)
        kept = [one.read() for one in service.mail()]
        if policy == "defer":
            assert reply == "451 4.7.1 A check could not be made; try again later"
            assert kept == []
        else:
            assert reply.startswith("250")
            assert email.message_from_bytes(kept[0])["X-Postane-Unchecked"] == "clamav"
        line.close()
        service.close()


def test_a_clamd_that_is_back_is_asked_again(scanner: clamd.Clamd, wire: Wire, line: Line) -> None:
    assert send(line, ATTACHED).startswith("554")
