"""A message in a multipart with something behind it: itself unaltered, readable, and left alone where it must be."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.wrap import Words, closed, wrap

WORDS = Words("Bu ileti gizlidir.\nThis message is confidential.", "<p>Gizli · <b>confidential</b></p>")

PLAIN = (
    b"From: Ayse <ayse@demo.test>\r\nTo: bob@far.test\r\nSubject: folded\r\n\tsubject\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    b"Message-ID: <1@laptop.test>\r\nX-Mailer: x\r\n\r\nMerhaba =C3=BC\r\n"
)
ALTERNATIVE = (
    b"From: ayse@demo.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/alternative;\r\n boundary=in\r\n\r\n"
    b"--in\r\nContent-Type: text/plain\r\n\r\ntext\r\n--in\r\nContent-Type: text/html\r\n\r\n<p>text</p>\r\n--in--\r\n"
)
BARE = b"From: ayse@demo.test\r\nSubject: x\r\n\r\nno MIME at all, no line end"


def wrapped(text: bytes, words: Words = WORDS) -> bytes:
    head, tail = wrap(text.partition(b"\r\n\r\n")[0], words, "=_b", ascii_only=text.isascii())
    return head + text + tail


def parsed(text: bytes) -> EmailMessage:
    found = email.message_from_bytes(text, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def _leaves(mail: Message) -> list[EmailMessage]:
    return [part for part in mail.walk() if isinstance(part, EmailMessage) and not part.is_multipart()]


@pytest.mark.parametrize("text", [PLAIN, ALTERNATIVE, BARE])
def test_the_message_is_the_first_part_octet_by_octet(text: bytes) -> None:
    whole = wrapped(text)
    assert text in whole
    mail = parsed(whole)
    first, second = mail.iter_parts()
    original = parsed(text)
    assert mail.get_content_type() == "multipart/mixed"
    assert first.get_content_type() == original.get_content_type()
    assert [part.get_payload() for part in _leaves(first)] == [part.get_payload() for part in _leaves(original)]
    plain, html = (str(part.get_content()) for part in _leaves(second))
    assert plain.split() == ["Bu", "ileti", "gizlidir.", "This", "message", "is", "confidential."]
    assert "·" in html
    for name, value in original.items():
        if name.lower() not in ("content-type", "content-transfer-encoding", "mime-version"):
            assert mail.get_all(name) == [value]
    assert mail.get_all("MIME-Version") == ["1.0"]


def test_text_alone() -> None:
    _, second = parsed(wrapped(PLAIN, Words("Gizli"))).iter_parts()
    assert (second.get_content_type(), second.get_content_disposition()) == ("text/plain", "inline")
    assert second.get_content().strip() == "Gizli"


def test_eight_bits_are_declared() -> None:
    text = BARE + "ü".encode()
    assert parsed(wrapped(text))["Content-Transfer-Encoding"] == "8bit"
    assert parsed(wrapped(BARE))["Content-Transfer-Encoding"] is None


@pytest.mark.parametrize(
    "claim",
    [
        b"Authentication-Results: mx.test; dmarc=pass",
        b"X-Spam: No",
        b"Received: from x",
        b"Subject : other",
        b"no field",
    ],
)
def test_what_claims_to_be_a_servers_word_is_not_repeated(claim: bytes) -> None:
    text = claim + b"\r\n" + PLAIN
    assert wrapped(text).count(claim) == 1
    assert not wrapped(text).startswith(claim)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"Content-Type: multipart/signed; micalg=x", b""),
        (b"Content-Type:\r\n Multipart/Encrypted", b""),
        (b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data", b""),
        (b"Content-Type: application/x-pkcs7-mime", b""),
        (b"Content-Type: text/calendar; method=REPLY", b""),
        (b"Content-Type: multipart/alternative; boundary=x", b"--x\r\ncontent-type: text/calendar\r\n\r\n"),
        (b"Content-Type: multipart/mixed; boundary=x", b"--x\r\nContent-Type: multipart/signed\r\n\r\n"),
        (b"Content-Type: multipart/mixed; boundary=x", b"--x\r\nContent-Type: message/rfc822\r\n\r\n"),
        (b"Content-Type: multipart/report; report-type=disposition-notification", b""),
        (b"Content-Type: text/plain", b"hi\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n"),
        (b'Content-Type: text/plain; hp="clear"', b""),
        (b"Content-Type: text/plain\r\nContent-Type: text/html", b""),
        (b"DKIM-Signature: v=1", b""),
        (b"List-Id: <x.example>", b""),
        (b"Auto-Submitted: auto-replied", b""),
        (b"Content-Type: multipart/mixed; boundary=x", b"Content-Type: text/plain\r\n\r\n" * 300),
    ],
)
def test_what_is_left_alone(header: bytes, body: bytes) -> None:
    assert closed(b"From: a@b.test\r\n" + header, body)


@pytest.mark.parametrize("text", [PLAIN, ALTERNATIVE, BARE, b"Auto-Submitted: no\r\n\r\n"])
def test_what_is_not(text: bytes) -> None:
    header, _, body = text.partition(b"\r\n\r\n")
    assert closed(header, body) == ""


_PIECES = [
    *(b"From: ", b"a@b.test", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"Content-Type: ", b"text/plain", b"; boundary=x"),
    *(b"MIME-Version: 1.0\r\n", b"Content-Transfer-Encoding: base64\r\n", b"--x", b"QUJD", b"\xff\xfe", b"\0", b":"),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=25).map(b"".join))
def test_whatever_is_wrapped_stays_whole(text: bytes) -> None:
    header, end, body = text.partition(b"\r\n\r\n")
    if not header or not end or closed(header, body):
        return
    whole = wrapped(text)
    assert text in whole
    mail = email.message_from_bytes(whole)
    assert (mail.get_content_type(), len(mail.get_payload())) == ("multipart/mixed", 2)
