from __future__ import annotations

import hashlib

import pytest

from postane.filters.auth.message import MAX_HEAD, MAX_LINES, Field, canonicalization, read, split
from postane.filters.auth.tags import TagError


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_message_is_the_same_with_lf_or_crlf_and_however_it_is_cut(ends: bytes, size: int) -> None:
    text = ends.join([b"From: a", b"X-Folded : b", b"\tc", b"DKIM-Signature: v=1; l=2", b"", b"body", b"", b""])
    message = read(text[at : at + size] for at in range(0, len(text), size))
    assert [(field.name, field.raw) for field in message.fields] == [
        (b"from", b"From: a"),
        (b"x-folded", b"X-Folded : b\r\n\tc"),
        (b"dkim-signature", b"DKIM-Signature: v=1; l=2"),
    ]
    assert set(message.bodies) == {False}
    assert message.bodies[False].digests == {
        None: hashlib.sha256(b"body\r\n").digest(),
        2: hashlib.sha256(b"bo").digest(),
    }


def test_only_what_signatures_want_is_hashed_once_for_all_of_them() -> None:
    signatures = b"".join(b"DKIM-Signature: c=relaxed/relaxed; l=%d\r\n" % length for length in (1, 2, 2, 3))
    message = read([signatures + b"ARC-Message-Signature: c=simple/relaxed\r\nFrom: a\r\n\r\nbody\r\n"])
    assert set(message.bodies) == {True}
    assert set(message.bodies[True].digests) == {None, 1, 2, 3}
    assert not read([b"From: a\r\n\r\nbody"]).bodies


def test_signatures_that_will_not_be_tried_are_not_hashed_for() -> None:
    signatures = b"".join(b"DKIM-Signature: l=%d\r\n" % length for length in range(1, 13))
    message = read([signatures + b"From: a\r\n\r\nbody of a message\r\n"])
    assert set(message.bodies[False].digests) == {None, *range(1, 11)}


def test_a_message_without_a_body_or_without_a_header_is_read() -> None:
    assert [field.name for field in read([b"From: a\r\nTo: b\r\n"]).fields] == [b"from", b"to"]
    assert [field.name for field in read([b"From: a"]).fields] == [b"from"]
    assert read([b"\r\nFrom: a\r\n\r\n"]).fields == ()
    assert read([]).fields == ()


def test_a_header_without_end_is_left_alone() -> None:
    for line in (b"X: y\r\n" * 10_000, b"X: " + b"y" * 10_000 + b"\r\n"):
        message = read(line for _ in range(300))
        assert message.problem
        assert message.fields == ()
    assert read([b"X: y\r\n" * (MAX_LINES + 1) + b"From: a\r\n\r\n"]).problem
    assert len(read([b"X: " + b"y" * (MAX_HEAD - 100) + b"\r\nFrom: a\r\n\r\n"]).fields) == 2


def test_a_line_without_a_colon_has_no_name() -> None:
    assert [field.name for field in split(b"From a@b\r\nnothing\r\n more: x\r\nTo: c")] == [b"", b"", b"to"]


def test_a_field_keeps_its_octets_in_the_simple_form() -> None:
    field = Field(b"x-a", b"X-A :  b \r\n\t c ")
    assert field.canonical(relaxed=False) == b"X-A :  b \r\n\t c \r\n"
    assert field.canonical(relaxed=True) == b"x-a:b c\r\n"


def test_canonicalization_has_the_defaults_of_the_standard() -> None:
    assert canonicalization("") == (False, False)
    assert canonicalization("relaxed") == (True, False)
    assert canonicalization("simple/relaxed") == (False, True)
    for bad in ("nofws", "relaxed/nofws", "relaxed/relaxed/relaxed"):
        with pytest.raises(TagError):
            canonicalization(bad)
