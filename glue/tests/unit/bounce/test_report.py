"""Notices are read back by the email package, as the sender's mail program would."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage

import pytest

from postane.bounce.report import FULL_MOST, LANGUAGES, Report, build
from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Action, Fate, Outcome
from postane.core.reply import Reply

TEXT = (
    b"From: <ayse@demo.test>\r\nSubject: hello\r\nMessage-ID:\r\n <m1@demo.test>\r\n\r\n"
    b"Body of the message\r\n--=_OTHER\r\n"
)
NO = Reply(550, "5.1.1", "No such user")


def make(
    action: Action = Action.FAILED,
    about: list[tuple[Recipient, Outcome]] | None = None,
    text: bytes = TEXT,
    language: str = "en",
    **more: object,
) -> tuple[EmailMessage, bytes]:
    if about is None:
        recipient = Recipient("bob@far.test", "info@demo.test", "remote")
        about = [(recipient, Outcome("bob@far.test", Fate.FAILED, NO, "mx.far.test[192.0.2.1]"))]
    fields = {"sender": "ayse@demo.test", **more}
    envelope = Envelope("1" * 26, recipients=tuple(r for r, _ in about), received_at=1.7e9, **fields)  # type: ignore[arg-type]
    report = Report("mail.demo.test", "NOTICE", action, envelope, about, 1.7001e9, 1.7005e9, language)
    half = len(text) // 3
    body = build(report, [memoryview(text)[:half], text[half:]], len(text))
    octets = body.bytes()
    assert body.size == len(octets)
    assert octets.count(b"\n") == octets.count(b"\r\n"), "every line ends with CRLF"
    parsed = email.message_from_bytes(octets, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed, octets


def parts(message: EmailMessage) -> list[EmailMessage]:
    found = [part for part in message.iter_parts() if isinstance(part, EmailMessage)]
    assert len(found) == 3
    return found


def status(message: EmailMessage) -> list[EmailMessage]:
    payload = parts(message)[1].get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, EmailMessage)]


def test_three_parts_that_programs_read() -> None:
    message, _ = make()
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    words, _, original = parts(message)
    assert "550 5.1.1 No such user" in words.get_content()
    assert "Check the spelling" in words.get_content()
    of_message, of_recipient = status(message)
    assert of_message["Reporting-MTA"] == "dns; mail.demo.test"
    assert of_recipient["Final-Recipient"] == "rfc822; bob@far.test"
    assert of_recipient["Original-Recipient"] == "rfc822; info@demo.test"
    assert of_recipient["Action"] == "failed"
    assert of_recipient["Status"] == "5.1.1"
    assert of_recipient["Remote-MTA"] == "dns; mx.far.test"
    assert of_recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert original.get_content_type() == "message/rfc822"
    (inner,) = original.iter_parts()
    assert isinstance(inner, EmailMessage)
    assert inner["Subject"] == "hello"


def test_headers_say_what_it_is() -> None:
    message, _ = make()
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.demo.test>"
    assert message["To"] == "ayse@demo.test"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == message["References"] == "<m1@demo.test>"
    assert message["Subject"] == "Not delivered: your message to info@demo.test"
    assert message["Message-ID"] == "<NOTICE@mail.demo.test>"


@pytest.mark.parametrize(
    ("action", "ret", "size", "kind"),
    [
        (Action.FAILED, "", 10, "message/rfc822"),
        (Action.FAILED, "FULL", 10, "message/rfc822"),
        (Action.FAILED, "HDRS", 10, "text/rfc822-headers"),
        (Action.FAILED, "", FULL_MOST, "text/rfc822-headers"),
        (Action.DELAYED, "FULL", 10, "text/rfc822-headers"),
        (Action.DELIVERED, "FULL", 10, "text/rfc822-headers"),
    ],
)
def test_how_much_of_the_original_comes_back(action: Action, ret: str, size: int, kind: str) -> None:
    message, octets = make(action, text=TEXT + b"x" * size + b"\r\n", ret=ret)
    assert parts(message)[2].get_content_type() == kind
    assert (b"Body of the message" in octets) is (kind == "message/rfc822")
    assert b"Subject: hello" in octets


def test_delay_says_until_when() -> None:
    recipient = Recipient("bob@far.test", "bob@far.test", "remote")
    outcome = Outcome("bob@far.test", Fate.DELAYED, Reply(451, "4.4.1", "far.test: Connection refused"))
    message, _ = make(Action.DELAYED, [(recipient, outcome)])
    _, of_recipient = status(message)
    assert of_recipient["Action"] == "delayed"
    assert of_recipient["Will-Retry-Until"]
    assert of_recipient["Remote-MTA"] is None, "nobody else spoke"
    assert of_recipient["Diagnostic-Code"] == "x-postane; 451 4.4.1 far.test: Connection refused"
    assert "need not do anything" in parts(message)[0].get_content()


def test_words_of_others_make_no_fields_and_no_parts() -> None:
    evil = Reply(550, "5.7.1", "no\r\nBcc: x@y\r\n\r\n--=_NOTICE--\nStatus: 2.0.0\x00")
    recipient = Recipient("bob@far.test", "bob@far.test", "remote")
    message, _ = make(about=[(recipient, Outcome("bob@far.test", Fate.FAILED, evil, "mx"))])
    assert message["Bcc"] is None
    _, of_recipient = status(message)
    assert of_recipient["Status"] == "5.7.1"
    assert of_recipient["Bcc"] is None
    assert len(parts(message)) == 3


def test_several_recipients() -> None:
    about = [
        (Recipient(f"u{n}@far.test", kind="remote"), Outcome(f"u{n}@far.test", Fate.FAILED, NO, "mx")) for n in range(3)
    ]
    message, _ = make(about=about)
    assert [part["Final-Recipient"] for part in status(message)[1:]] == [f"rfc822; u{n}@far.test" for n in range(3)]
    assert message["Subject"].endswith("u0@far.test and 2 more")


def test_dsn_parameters_come_back_decoded() -> None:
    recipient = Recipient("bob@far.test", "", "remote", orcpt="rfc822;bob+2Bx@far.test")
    message, _ = make(about=[(recipient, Outcome("bob@far.test", Fate.FAILED, NO))], envid="QQ+2B1")
    of_message, of_recipient = status(message)
    assert of_message["Original-Envelope-Id"] == "QQ+1"
    assert of_recipient["Original-Recipient"] == "rfc822; bob+x@far.test"


def test_utf8_forms_for_who_speaks_it() -> None:
    recipient = Recipient("çiğdem@müze.test", "", "remote")
    outcome = Outcome("çiğdem@müze.test", Fate.FAILED, Reply(550, "5.1.1", "yok öyle biri"), "mx")
    text = "From: <ayse@demo.test>\r\nSubject: ölçü\r\n\r\nx\r\n".encode()
    message, octets = make(about=[(recipient, outcome)], text=text, smtputf8=True)
    assert parts(message)[1].get_content_type() == "message/global-delivery-status"
    assert parts(message)[2].get_content_type() == "message/global"
    assert "Final-Recipient: utf-8; çiğdem@müze.test" in octets.decode()
    assert "yok öyle biri" in octets.decode()


def test_ascii_forms_for_who_does_not() -> None:
    recipient = Recipient("çiğdem@müze.test", "", "remote")
    outcome = Outcome("çiğdem@müze.test", Fate.FAILED, Reply(550, "5.1.1", "yok öyle biri"), "mx")
    message, octets = make(about=[(recipient, outcome)])
    assert parts(message)[1].get_content_type() == "message/delivery-status"
    start = octets.index(b"Reporting-MTA")
    assert octets[start : octets.index(b"--=_NOTICE", start)].isascii()
    assert rb"utf-8; \x{E7}i\x{11F}dem@m\x{FC}ze.test" in octets


@pytest.mark.parametrize("text", [b"", b"no headers at all", b"\r\nbody only\r\n", b"A: b\r\n", b"A: b"])
def test_odd_originals(text: bytes) -> None:
    message, _ = make(text=text)
    kinds = [part.get_content_type() for part in parts(message)]
    assert kinds[:2] == ["text/plain", "message/delivery-status"]
    assert kinds[2] in ("message/rfc822", "text/rfc822-headers")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("action", list(Action))
def test_each_language_says_each_thing(language: str, action: Action) -> None:
    message, _ = make(action, language=language)
    words = parts(message)[0].get_content()
    assert "info@demo.test" in message["Subject"]
    assert "bob@far.test" in words
    assert ("Burası" in words) is (language == "tr")
    assert "{" not in words


def test_unknown_language_is_english() -> None:
    message, _ = make(language="xx")
    assert "This is the mail system" in parts(message)[0].get_content()
