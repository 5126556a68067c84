"""What documents do by themselves."""

from __future__ import annotations

import zlib

import pytest

from postane.filters.content import documents
from support.attach import budget

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"


def in_stream(text: bytes) -> bytes:
    return (
        b"%PDF-1.7\n2 0 obj\n<< /Type /ObjStm /Filter /FlateDecode >>\nstream\r\n"
        + zlib.compress(text)
        + b"\nendstream"
    )


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (PDF, set()),
        (PDF + b"<< /S /JavaScript /JS (app.alert(1)) >>", {"pdf_script"}),
        (PDF + b"<< /S /J#61vaScript >>", {"pdf_script"}),
        (PDF + b"<< /S /Launch /F (cmd.exe) >>", {"pdf_launch"}),
        (PDF + b"<< /LaunchPad /JSON >>", set()),
        (in_stream(b"<< /OpenAction << /S /JavaScript >> >>"), {"pdf_script"}),
        (in_stream(b"<< /S /#4caunch >>"), {"pdf_launch"}),
        (in_stream(b"<< /Type /Page >>"), set()),
        (b"%PDF-1.7\n/ObjStm stream\nnot compressed", set()),
        (PDF + b" " * 300_000 + b"/Launch /JavaScript", {"pdf_script", "pdf_launch"}),
    ],
)
def test_pdf(octets: bytes, found: set[str]) -> None:
    assert documents.pdf(octets, budget()) == found


@pytest.mark.parametrize("at", range(256 * 1024 - 12, 256 * 1024 + 2))
def test_a_name_between_two_windows(at: int) -> None:
    assert documents.pdf(b"x" * at + b"/JavaScript ", budget()) == {"pdf_script"}


def test_rtf() -> None:
    assert documents.rtf(b"{\\rtf1 {\\object\\objocx{\\*\\objdata 0105}}}", budget()) == {"rtf_object"}
    assert documents.rtf(b"{\\rtf1 an object of desire}", budget()) == set()


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"<html><SCRIPT src=x>", True),
        (b"<svg><svg:script>", True),
        (b"<body onload = 'x()'>", True),
        (b"<a href='JavaScript:x'>", True),
        (b"<html><p>the script of the play</p>", False),
    ],
)
def test_html(octets: bytes, found: bool) -> None:
    assert documents.html(octets, budget()) == ({"html_script"} if found else set())


RELATION = (
    b'<Relationships><Relationship Id="1" Type="http://schemas.test/relationships/%s" Target="%s"%s/></Relationships>'
)


@pytest.mark.parametrize(
    ("kind", "mode", "found"),
    [
        (b"attachedTemplate", b' TargetMode="External"', True),
        (b"oleObject", b' TargetMode="External"', True),
        (b"attachedTemplate", b"", False),
        (b"hyperlink", b' TargetMode="External"', False),
    ],
)
def test_what_comes_from_elsewhere(kind: bytes, mode: bytes, found: bool) -> None:
    assert documents.remote(RELATION % (kind, b"http://evil.test/x.dotm", mode)) is found


@pytest.mark.parametrize(
    ("names", "types", "found"),
    [
        (["[Content_Types].xml", "word/document.xml"], b"wordprocessingml", set()),
        (["[Content_Types].xml", "word/vbaProject.bin"], b"", {"macros"}),
        (["[Content_Types].xml", "word/other.bin"], b"application/vnd.ms-office.vbaProject", {"macros"}),
        (["[Content_Types].xml", "xl/macrosheets/sheet1.xml"], b"", {"macros"}),
        (["mimetype", "content.xml", "Basic/Standard/Module1.xml"], b"", {"macros"}),
        (["mimetype", "content.xml", "META-INF/manifest.xml"], b"", set()),
        (["META-INF/MANIFEST.MF", "x.properties"], b"", {"java"}),
        (["a/B.class"], b"", {"java"}),
        (["basic/readme.txt"], b"", set()),
    ],
)
def test_packages(names: list[str], types: bytes, found: set[str]) -> None:
    assert documents.package(names, types) == found
