"""Transfer encodings, sound and damaged, in pieces of any size."""

from __future__ import annotations

import base64
import binascii
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content import octets as octets_module
from postane.filters.content.decode import BASE64, IDENTITY, QUOTED, UU, decode, uu_lines, uu_parts
from support.attach import budget


def decoded(text: bytes, encoding: str) -> bytes:
    return b"".join(decode(text, 0, len(text), encoding, budget()))


def uuencoded(text: bytes, name: bytes = b"evil.exe") -> bytes:
    lines = b"".join(binascii.b2a_uu(text[at : at + 45]) for at in range(0, len(text), 45))
    return b"begin 644 " + name + b"\n" + lines + b"`\nend\n"


@pytest.fixture(params=[16, 64, 256 * 1024])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few octets show what goes wrong between two of them."""
    monkeypatch.setattr(octets_module, "WINDOW", request.param)


def test_only_the_range_is_read() -> None:
    assert b"".join(decode(b"0123456789", 2, 7, IDENTITY, budget())) == b"23456"


SOUND = b"any octets \0\xff\r\n" * 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (base64.encodebytes(SOUND), SOUND),
        (base64.encodebytes(SOUND).replace(b"\n", b"\r\n\r\n \t"), SOUND),
        (b"!?*" + b"#".join(base64.b64encode(SOUND)[at : at + 5] for at in range(0, 600, 5)), SOUND),
        (b"TVo=", b"MZ"),
        (b"TVo", b"MZ"),
        (b"TVqQ=", b"MZ\x90"),
        (b"TQ==WpA=", b"MZ\x90"),  # two texts, one behind the other
        (b"TQ==\r\nWpA=\r\n", b"MZ\x90"),
        (b"T=VqQ", b"MZ\x90"),  # a pad where none can stand
        (b"=TVqQ", b"MZ\x90"),
        (b"TVqQA", b"MZ\x90"),
        (b"====", b""),
        (b"", b""),
    ],
)
def test_base64_as_lenient_programs_read_it(window: None, text: bytes, expected: bytes) -> None:
    assert decoded(text, BASE64) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (quopri.encodestring(SOUND), SOUND.replace(b"\r\n", b"\r\n")),
        (b"a=\r\nb=3D=3d\r\n", b"ab==\r\n"),
        (b"a=\nb", b"ab"),
        (b"=4D=5A=9", b"MZ=9"),
        (b"=ZZ=", b"=ZZ"),
        (b"", b""),
    ],
)
def test_quoted_printable(window: None, text: bytes, expected: bytes) -> None:
    assert decoded(text, QUOTED).replace(b"\r\n", b"\n") == expected.replace(b"\r\n", b"\n")


def test_uuencoded(window: None) -> None:
    text = uuencoded(SOUND)
    for form in (text, text.replace(b"\n", b"\r\n"), b"hello\n" + text, text.replace(b"`", b" ")):
        assert decoded(form, UU) == SOUND
    assert decoded(text.partition(b"\n")[2], UU) == SOUND  # without its first line
    assert decoded(text[:-60], UU).startswith(SOUND[:100])


def test_uuencoded_files_in_a_text(window: None) -> None:
    text = b"hello\r\nbegin of the tale\r\n" + uuencoded(SOUND) + b"and\n" + uuencoded(b"second", b"b c.txt")
    found = list(uu_parts(text, 0, len(text), budget()))
    assert [name for name, _ in found] == [b"evil.exe", b"b c.txt"]
    assert [b"".join(uu_lines(text, at, len(text), budget())) for _, at in found] == [SOUND, b"second"]


def test_a_damaged_line_gives_what_it_has(window: None) -> None:
    assert b"".join(uu_lines(b"#0V%T trailing\n#0V%T\nend\n", 0, 24, budget())) == b"CatCat"


SIZES = st.sampled_from([16, 50, 256 * 1024])


@given(st.binary(max_size=300), st.sampled_from([BASE64, QUOTED, UU, IDENTITY]), SIZES)
def test_anything_is_decoded(text: bytes, encoding: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octets_module, "WINDOW", size)
        decoded(text, encoding)


@given(st.binary(max_size=300), SIZES)
def test_what_was_encoded_comes_back(text: bytes, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octets_module, "WINDOW", size)
        assert decoded(base64.encodebytes(text), BASE64) == text
        assert decoded(binascii.b2a_qp(text, istext=False), QUOTED) == text
        assert decoded(uuencoded(text), UU) == text
