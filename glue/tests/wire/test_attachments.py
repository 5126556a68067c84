"""Mail with attachments against the door on port 25: refused, marked, or as it was."""

from __future__ import annotations

import email
import io
import time
import zipfile
from collections.abc import Iterator

import pytest

from postane.config.model import Dns, Limits
from postane.core.peer import Service
from postane.filters.base import Tools
from postane.filters.builtin.attachments import Attachments, Options
from support.attach import PE, attached, compound, multipart
from support.wire import Line, Wire


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    one = Attachments(Options(seconds=1.0, on_bound="reject"), Tools("mx.test", Dns(), time.time))
    service = Wire(tmp_path_factory.mktemp("wire"), Limits(message_size=40_000_000), filters=(one,))
    yield service
    service.close()


def send(line: Line, message: bytes, sender: str = "a@other.example") -> str:
    assert line(f"MAIL FROM:<{sender}>").startswith("250")
    assert line("RCPT TO:<mehmet@demo.test>").startswith("250")
    assert line("DATA").startswith("354")
    line.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    return line.read()


def zipped(name: str, octets: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as one:
        one.writestr(name, octets)
    return out.getvalue()


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        (attached(b"x", "a.exe"), "554 5.7.1 Attachments of type .exe are not accepted"),
        (attached(PE, "a.txt"), "554 5.7.1 Attachments of this kind are not accepted: pe"),
        (attached(zipped("a.js", b"x"), "a.zip"), "554 5.7.1 Attachments of type .js are not accepted"),
        (attached(zipped("zeros", bytes(30_000_000)), "a.zip"), "554 5.7.1 The message is built in a way"),
        (multipart(*[b"\r\nx"] * 10_000), "554 5.7.1 The message is built in a way"),
        (b"X: y\r\n" * 170_000 + b"\r\nhello\r\n", "554 5.7.1 The message is built in a way"),
        (b"\r\n" + b"--a\r\nContent-Type: x/y; name=a\r\n\r\n" * 500_000, "554 5.7.1 The message is built in a way"),
    ],
    ids=["by name", "by content", "in an archive", "a bomb", "10,000 parts", "a header of 1 MiB", "17 MB of parts"],
)
def test_refused_and_the_session_goes_on(wire: Wire, line: Line, message: bytes, reply: str) -> None:
    assert send(line, message).startswith(reply)
    assert not wire.mail()
    assert send(line, attached(b"hello", "a.txt")).startswith("250")


@pytest.mark.parametrize("size", [10, 1_000_000])  # in memory, and in a file of its own
def test_harmless_mail_arrives_as_it_was(wire: Wire, line: Line, size: int) -> None:
    message = attached(bytes(range(256)) * (size // 256 + 1), "photo.jpg")
    assert send(line, message).startswith("250")
    (kept,) = wire.mail()
    octets = kept.read()
    assert octets.endswith(message)
    assert email.message_from_bytes(octets)["X-Spam"] is None


def test_what_is_put_aside_arrives_marked(wire: Wire, line: Line) -> None:
    assert send(line, attached(compound({"_VBA_PROJECT": b"x"}), "a.doc")).startswith("250")
    (kept,) = wire.mail()
    assert email.message_from_bytes(kept.read())["X-Spam"] == "Yes"


def test_our_own_users_are_judged_too(wire: Wire) -> None:
    line = Line(wire, Service.SUBMISSIONS)
    assert line("AUTH PLAIN AGF5c2VAZGVtby50ZXN0AHJpZ2h0").startswith("235")
    assert send(line, attached(PE, "a.txt"), "ayse@demo.test").startswith("554 5.7.1")
    line.close()
