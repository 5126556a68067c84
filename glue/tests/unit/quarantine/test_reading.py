from __future__ import annotations

import time

import pytest

from postane.quarantine import reading


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"=?iso-8859-9?Q?Say=FDn_=C7i=F0dem?=", "Sayın Çiğdem"),
        (b"=?windows-1254?B?3fz28P79?=", "İüöğşı"),
        (b"=?utf-8?B?xLDFnsSe?= =?utf-8?Q?_son?=", "İŞĞ son"),
        ("İstanbul'dan ıhlamur".encode(), "İstanbul'dan ıhlamur"),
        ("Şişli'de ığdır".encode("cp1254"), "Şişli'de ığdır"),
        (b"folded\r\n\tline", "folded line"),
        (b"=?no-such-charset?Q?abc?=", "abc"),
        (b"=?utf-8?B?A?=", "=?utf-8?B?A?="),
        (b"=?utf-8?Q?unended", "=?utf-8?Q?unended"),
        (b"=?utf-8?Q?a=0D=0AX-Bad:_1?=", "a X-Bad: 1"),
        (b"\x1b[31mred\x07\x00", "[31mred"),
        ("gpj.\u202eexe".encode(), "gpj.exe"),
    ],
)
def test_a_field_is_decoded_and_cleaned(raw: bytes, text: str) -> None:
    assert reading.field(b"From: a@b\r\nSubject: " + raw + b"\r\nTo: c\r\n", "Subject") == text


def test_fields_are_bounded_and_found_whatever_their_case() -> None:
    head = b"X-Subject: no\r\nsubject:" + b" x" * 100_000 + b"\r\nSubject: second\r\n"
    found = reading.field(head, "Subject")
    assert len(found) == 300
    assert found.startswith("x x")
    assert reading.field(b"X: y\r\n", "Subject") == ""
    assert reading.field(b"", "Subject") == ""


def test_marks_go_and_nothing_else() -> None:
    head = (
        b"X-Spam: Yes\r\nReceived: a\r\n\tb\r\nX-Spam-Marked: Yes\r\n more\r\nX-Spam-Score: 7\r\nSubject: x-spam: y\r\n"
    )
    assert reading.without_marks(head) == b"Received: a\r\n\tb\r\nX-Spam-Score: 7\r\nSubject: x-spam: y\r\n"


@pytest.mark.parametrize(("octets", "end"), [(b"A: b\r\n\r\nbody", 6), (b"\r\nbody", 0), (b"A: b\r\n", 6), (b"", 0)])
def test_the_end_of_the_headers(octets: bytes, end: int) -> None:
    assert reading.header_end(octets) == end


HTML = (
    b"Content-Type: text/html; charset=windows-1254\r\n\r\n"
    b"<html><head><title>t</title><style>p{}</style></head><body><script>alert(1)</script>"
    b"<p onclick='x()'>Say\xfdn <b>\xc7i\xf0dem</b>,</p><br>tek t\xfdk&nbsp;&amp; bitti<!-- hidden --></body>\r\n"
)


def test_html_is_shown_as_words() -> None:
    assert reading.preview(HTML) == "Sayın Çiğdem,\n\ntek tık\xa0& bitti"


MIXED = (
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nbWVyaGFiYQ==\r\n"
    b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=fatura.txt\r\n\r\nnot this\r\n"
    b"--b\r\nContent-Type: application/zip; name*=utf-8''%C3%B6deme%1B.zip\r\n\r\nPK\r\n"
    b"--b--\r\n"
)


def test_plain_text_goes_first_and_attachments_are_named() -> None:
    assert reading.preview(MIXED) == "merhaba"
    assert reading.attachments(MIXED) == ["fatura.txt", "ödeme.zip"]


def test_what_was_made_to_break_parsers_costs_little() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(10_000))
    wide = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 10_000
    tags = b"Content-Type: text/html\r\n\r\n" + b"<script" * 40_000 + b"<" * 100_000
    begun = time.process_time()
    for octets in (deep, wide, tags, b"\x00" * 300_000, b"Subject: =?utf-8?" * 20_000):
        assert len(reading.preview(octets)) <= 2000
        reading.attachments(octets)
        reading.field(octets, "Subject")
    assert time.process_time() - begun < 5


def test_the_beginning_is_bounded() -> None:
    assert reading.beginning([b"abc", memoryview(b"defg")], 5) == b"abcde"
    assert reading.beginning([], 5) == b""
