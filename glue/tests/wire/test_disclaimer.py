"""A disclaimer over the wire: the message itself unaltered, the text behind it, the DKIM signature over all."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization

from postane.config.model import Dns
from postane.core.peer import Service
from postane.filters.auth.dkim_sign import DkimSigner, SigningKey
from postane.filters.base import Tools
from postane.filters.builtin.authentication import Authentication
from postane.filters.builtin.authentication import Options as AuthenticationOptions
from postane.filters.builtin.disclaimer import Disclaimer, Options
from support.signing import Zone, record, rsa_key
from support.wire import Line, Wire

FORGED = b"Authentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n"
HEADER = b"From: ayse@demo.test\r\nSubject: hello\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    folder: Path = tmp_path_factory.mktemp("wire")
    key = folder / "key.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(rsa_key().private_bytes(*form))
    zone = Zone({})
    tools = Tools("mx.test", Dns(), time.time, lambda: zone.ask)
    filters = (Authentication(AuthenticationOptions(), tools), Disclaimer(Options(text="Gizli", to="everybody"), tools))
    service = Wire(folder, filters=filters)
    signer = DkimSigner(lambda _: [SigningKey("s", "rsa", key)], time.time)
    service.signer.sign = signer.sign  # type: ignore[method-assign]
    yield service
    service.close()


def sent(wire: Wire, text: bytes) -> list[bytes]:
    line = Line(wire, Service.SUBMISSIONS)
    line("AUTH PLAIN AGF5c2VAZGVtby50ZXN0AHJpZ2h0")
    line("MAIL FROM:<ayse@demo.test>")
    line("RCPT TO:<mehmet@demo.test>")
    line("RCPT TO:<bob@far.test>")
    line("DATA")
    line.send(text + b".\r\n")
    assert line.read().startswith("250")
    line.close()
    return [one.read() for one in wire.mail()]


@pytest.mark.parametrize("lines", [1, 9_000])  # in memory, and in a file of its own
def test_behind_the_message_and_under_the_signature(wire: Wire, lines: int) -> None:
    body = b"a line of text\r\n" * lines
    (whole,) = sent(wire, HEADER + body)
    assert HEADER + body in whole
    mail = email.message_from_bytes(whole, policy=email.policy.default)
    first, second = mail.walk(), [part for part in mail.walk() if part.get_content_type() == "text/plain"][-1]
    assert next(first).get_content_type() == "multipart/mixed"
    assert second.get_content().strip() == "Gizli"
    assert mail["Subject"] == "hello"
    assert mail["Received"] is not None
    assert dkim.DKIM(whole).verify(dnsfunc=lambda name, timeout=5: record(rsa_key()).encode())


def test_a_forged_result_is_unreadable_wherever_it_stands(wire: Wire) -> None:
    (whole,) = sent(wire, FORGED + HEADER + b"body\r\n")
    assert b"bank.example" not in whole
    assert whole.count(b"Subject: hello") == 2


def test_what_is_signed_stays_as_it_is(wire: Wire) -> None:
    text = b"From: ayse@demo.test\r\nContent-Type: multipart/signed; boundary=x\r\n\r\n--x--\r\n"
    (whole,) = sent(wire, text)
    assert whole.endswith(text)
    assert b"Gizli" not in whole
