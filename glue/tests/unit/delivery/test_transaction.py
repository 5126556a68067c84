from __future__ import annotations

import pytest

from postane.core.envelope import Envelope, Notify, Recipient
from postane.delivery.transaction import Request, commands, needs_smtputf8, on_wire, xtext

ALL = {"size": "1000", "8bitmime": "", "smtputf8": "", "dsn": ""}
TO = Recipient("b@far.test", "b@far.test", "remote")


def envelope(**more: object) -> Envelope:
    return Envelope("1" * 26, "ayse@demo.test", (TO,), 0.0, **more)  # type: ignore[arg-type]


def test_plain_server_gets_plain_commands() -> None:
    request = Request(envelope(body_8bit=True, ret="FULL"), 500, {}, False)
    assert commands(request, [TO]) == ("MAIL FROM:<ayse@demo.test>", {})
    assert request.rcpt(TO) == "RCPT TO:<b@far.test>"


def test_what_is_offered_is_used() -> None:
    request = Request(envelope(body_8bit=True, ret="FULL", envid="a+2Bb"), 500, ALL, False)
    mail, _ = commands(request, [TO])
    assert mail == "MAIL FROM:<ayse@demo.test> SIZE=500 BODY=8BITMIME RET=FULL ENVID=a+2Bb"
    notify = Recipient("b@far.test", "", "remote", (Notify.NEVER,), "rfc822;x@y")
    assert request.rcpt(notify) == "RCPT TO:<b@far.test> NOTIFY=NEVER ORCPT=rfc822;x@y"


@pytest.mark.parametrize(("limit", "refused"), [("499", True), ("500", False), ("0", False), ("", False), ("x", False)])
def test_size(limit: str, refused: bool) -> None:
    _, answers = commands(Request(envelope(), 500, {"size": limit}, False), [TO])
    assert bool(answers) is refused


def test_u_labels_become_a_labels_without_smtputf8() -> None:
    assert on_wire("a@müze.test", utf8=False) == "a@xn--mze-hoa.test"
    assert on_wire("a@müze.test", utf8=True) == "a@müze.test"
    assert on_wire("", utf8=False) == ""
    to = Recipient("a@müze.test", kind="remote")
    _, refused = commands(Request(envelope(smtputf8=True), 5, {}, False), [to])
    assert not refused


def test_need_of_smtputf8() -> None:
    text = "Subject: ölçü\r\n\r\n".encode()
    assert needs_smtputf8(envelope(smtputf8=True), [text])
    assert needs_smtputf8(envelope(smtputf8=True), [text[:3], memoryview(text)[3:10], text[10:]])
    assert not needs_smtputf8(envelope(), [text]), "raw 8-bit headers go as they came"
    assert not needs_smtputf8(envelope(smtputf8=True), [b"Subject: x\r\n\r", "\nölçü".encode()])


def test_xtext() -> None:
    assert xtext("a+b=c d@x") == "a+2Bb+3Dc+20d@x"
