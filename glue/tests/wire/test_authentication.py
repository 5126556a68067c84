"""Mail with known tricks against the door on port 25: what is refused, and what stands in the spool of the rest."""

from __future__ import annotations

import email
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.peer import Service
from postane.filters.base import Tools
from postane.filters.builtin.authentication import Authentication, Options
from support.signing import MESSAGE, Zone, by_dkimpy, record, rsa_key
from support.wire import Line, Wire

FORGED = b"Authentication-Results: mx.test; dmarc=pass header.from=bank.example\r\n"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    zone = Zone(
        {
            "rsa._domainkey.example.org": [record(rsa_key())],
            "_dmarc.example.org": ["v=DMARC1; p=reject"],
            "_dmarc.bank.example": ["v=DMARC1; p=reject"],
        }
    )
    tools = Tools("mx.test", Dns(), time.time, lambda: zone.ask)
    folder: Path = tmp_path_factory.mktemp("wire")
    service = Wire(folder, filters=(Authentication(Options(trusted_peers=()), tools),))
    yield service
    service.close()


def send(line: Line, message: bytes) -> str:
    assert line("MAIL FROM:<a@other.example>").startswith("250")
    assert line("RCPT TO:<ayse@demo.test>").startswith("250")
    assert line("DATA").startswith("354")
    line.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    return line.read()


@pytest.mark.parametrize("padding", [0, 100_000])  # in memory, and in a file of its own
def test_signed_mail_arrives_with_one_true_header(wire: Wire, line: Line, padding: int) -> None:
    text = MESSAGE + b"padding\r\n" * (padding // 9)
    message = b"Received: x\r\n" + FORGED + by_dkimpy(text)
    assert send(line, message).startswith("250")
    (kept,) = wire.mail()
    octets = kept.read()  # its checksum is looked at here
    found = email.message_from_bytes(octets)
    (only,) = found.get_all("Authentication-Results", [])
    assert only.startswith("mx.test;\n\tspf=none") or only.startswith("mx.test;\r\n\tspf=none")
    assert "dkim=pass header.d=example.org" in only
    assert "dmarc=pass" in only
    assert b"bank.example" not in octets
    assert octets.endswith(by_dkimpy(text).partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("change", "reply"),
    [
        (lambda text: text.replace(b"Hello", b"Hullo"), "550 5.7.1 Refused by the DMARC policy of example.org"),
        (lambda text: text.replace(b"ayse@example.org", b"ayse@bank.example"), "550 5.7.1"),
        (lambda text: text + b"appended\r\n", "550 5.7.1"),
        (lambda text: MESSAGE, "550 5.7.1"),
    ],
)
def test_spoofed_mail_is_refused(wire: Wire, line: Line, change: object, reply: str) -> None:
    assert callable(change)
    assert send(line, change(by_dkimpy(MESSAGE))).startswith(reply)
    assert not wire.mail()
    assert line("NOOP").startswith("250")


@pytest.mark.parametrize(
    "head",
    [
        b"From: boss@bank.example\r\n",
        b"From : boss@bank.example\r\n",
        b"From\r\n : boss@bank.example\r\n",
        b"FROM: Ayse <ayse@example.org>\r\n",
    ],
)
def test_a_second_author_never_goes_unmarked(wire: Wire, line: Line, head: bytes) -> None:
    answer = send(line, head + by_dkimpy(MESSAGE))
    if not answer.startswith("250"):
        assert answer[:1] == "5"
        return
    (kept,) = wire.mail()
    found = email.message_from_bytes(kept.read())
    assert found["X-Spam"] == "Yes"
    assert "dmarc=permerror" in found["Authentication-Results"]


@pytest.mark.parametrize("first", [b" ;", b"\t;"])
def test_a_text_that_begins_folded_adds_nothing_to_our_own_results(wire: Wire, line: Line, first: bytes) -> None:
    signed = by_dkimpy(MESSAGE)
    assert send(line, first + b" dmarc=pass header.from=bank.example\r\n" + signed).startswith("250")
    (kept,) = wire.mail()
    found = email.message_from_bytes(kept.read())
    (ours,) = found.get_all("Authentication-Results", [])
    assert "dmarc=pass header.from=example.org" in ours
    assert "bank.example" not in ours
    assert "bank.example" in found["X-Postane-Torn"]
    assert kept.read().endswith(signed)


def test_our_users_cannot_forge_results_either(wire: Wire) -> None:
    line = Line(wire, Service.SUBMISSIONS)
    assert line("AUTH PLAIN AGF5c2VAZGVtby50ZXN0AHJpZ2h0").startswith("235")
    assert line("MAIL FROM:<ayse@demo.test>").startswith("250")
    assert line("RCPT TO:<mehmet@demo.test>").startswith("250")
    assert line("DATA").startswith("354")
    line.send(FORGED + b"From: ayse@demo.test\r\nSubject: x\r\n\r\nbody\r\n.\r\n")
    assert line.read().startswith("250")
    line.close()
    (kept,) = wire.mail()
    assert b"bank.example" not in kept.read()
    assert email.message_from_bytes(kept.read()).get_all("Authentication-Results") is None


@pytest.mark.parametrize("wanted", ["score", "quarantine", "reject"])
def test_a_name_that_is_the_address_of_another(
    wire: Wire, tmp_path: Path, wanted: Literal["score", "quarantine", "reject"]
) -> None:
    (judge,) = wire.filters
    options = msgspec.structs.replace(judge.options, on_false_name=wanted)
    service = Wire(tmp_path, filters=(Authentication(options, judge.tools),))
    try:
        for name, is_false in ((b'"Boss boss@bank.example"', True), (b'"Ayse ayse@example.org"', False)):
            line = Line(service)
            answer = send(line, by_dkimpy(MESSAGE.replace(b"From: Ayse", b"From: " + name)))
            line.close()
            if is_false and wanted == "reject":
                assert answer == "550 5.7.1 The name in From shows an address of another domain"
                continue
            assert answer.startswith("250")
            (kept,) = service.mail()
            found = email.message_from_bytes(kept.read())
            assert "dmarc=pass" in found["Authentication-Results"]
            assert (found["X-Spam"] == "Yes") is (is_false and wanted == "quarantine")
            assert found["X-Postane-False-Name"] == ("boss@bank.example" if is_false else None)
    finally:
        service.close()
