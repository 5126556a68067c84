"""What mail with the null sender is, and which messages it answers."""

from __future__ import annotations

import pytest

from postane.filters.returned.reading import answered, is_report, message_id


@pytest.mark.parametrize(
    ("header", "null", "report"),
    [
        (b"Content-Type: multipart/report; report-type=delivery-status; boundary=x", True, True),
        (b'Subject: x\r\nCONTENT-TYPE:\r\n Multipart/Report;\r\n\treport-type="Delivery-Status"', True, True),
        (b"Content-Type: multipart/report; report-type=global-delivery-status", False, True),
        (b"Content-Type: multipart/report; report-type=disposition-notification", True, False),
        (b"Content-Type: multipart/report; report-type=feedback-report\r\nFrom: postmaster@x.example", True, False),
        (b"Content-Type: text/plain\r\nFrom: Mail System\r\n <MAILER-DAEMON@qmail.example>", True, True),
        (b"Content-Type: text/plain\r\nFrom: MAILER-DAEMON@qmail.example", False, False),
        (b"From: a@b.example\r\nAuto-Submitted: auto-replied", True, False),
        (b"Subject: multipart/report; report-type=delivery-status", True, False),
        (b"", True, False),
    ],
)
def test_reports(header: bytes, null: bool, report: bool) -> None:
    assert is_report(header, null_sender=null) is report


def test_message_id() -> None:
    assert message_id(b"Subject: x\r\nMessage-Id:\r\n\t<1@a.example>\r\nTo: b@c.example") == b"<1@a.example>"
    assert message_id(b"X-Message-ID: <1@a.example>\r\nSubject: <2@a.example>") == b""
    assert message_id(b"Message-ID: none") == b""


def test_what_is_answered() -> None:
    header = b"In-Reply-To: <3@a.example>\r\nReferences: <1@a.example> <2@a.example>\r\n\t<3@a.example>"
    assert answered(header, b"") == [b"<3@a.example>", b"<2@a.example>"]
    receipt = b"--x\r\nOriginal-Message-ID: <4@a.example>\r\n\r\n> Message-ID:\r\n <5@a.example>\r\n"
    assert answered(b"Subject: x", receipt) == [b"<4@a.example>", b"<5@a.example>"]
    assert len(answered(header, b"\r\n".join(b"Message-ID: <%d@b.example>" % at for at in range(9)))) == 5
