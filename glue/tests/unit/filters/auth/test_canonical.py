"""dkimpy's canonicalisation is the witness: the same text, however it is cut."""

from __future__ import annotations

import hashlib
import time
import tracemalloc

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.filters.auth.canonical import BodyHash, relaxed_field, with_crlf


def canonical(text: bytes, *, relaxed: bool) -> bytes:
    # White space at the end of a text without CRLF is the end of a line too; dkimpy sees that only with the CRLF.
    ended = text if text.endswith(b"\r\n") else text + b"\r\n"
    witness: bytes = (Relaxed if relaxed else Simple).canonicalize_body(ended)
    # Section 3.4.4: a body of nothing is nothing in the relaxed form; dkimpy leaves one CRLF.
    return b"" if relaxed and witness == b"\r\n" else witness


def hashed(text: bytes, size: int, *, relaxed: bool, lengths: tuple[int, ...] = ()) -> BodyHash:
    body = BodyHash(relaxed=relaxed, lengths=lengths)
    body.feed(text[at : at + size] for at in range(0, len(text), size))
    body.finish()
    return body


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r\n\r\n", b"  ", b"b."]), max_size=24).map(b"".join),
    st.integers(1, 9),
    st.booleans(),
)
def test_the_body_is_hashed_alike_however_it_is_cut(text: bytes, size: int, relaxed: bool) -> None:
    wanted = canonical(text, relaxed=relaxed)
    lengths = tuple(range(len(wanted) + 3))
    body = hashed(text, size, relaxed=relaxed, lengths=lengths)
    assert body.size == len(wanted)
    assert body.digests[None] == hashlib.sha256(wanted).digest()
    for length in lengths:
        expected = hashlib.sha256(wanted[:length]).digest() if length <= len(wanted) else None
        assert body.digests.get(length) == expected, length


@pytest.mark.parametrize(
    ("relaxed", "text", "wanted"),
    [
        (False, b"", b"\r\n"),
        (False, b"\r\n\r\n", b"\r\n"),
        (True, b"", b""),
        (True, b" \t\r\n\r\n", b""),
        (True, b" ", b""),
        (True, b"a\r", b"a\r\r\n"),  # a bare CR is text
        (True, b"a\r\r\n\r\n", b"a\r\r\n"),
        (False, b"a\r\r\n\r\n", b"a\r\r\n"),
        (True, b"a \r", b"a \r\r\n"),
        (True, b"a\r \r\n", b"a\r\r\n"),
        (False, b"a\r\n\r", b"a\r\n\r\r\n"),
    ],
)
def test_the_edges_of_a_body(relaxed: bool, text: bytes, wanted: bytes) -> None:
    for size in (1, 2, 100):
        body = hashed(text, size, relaxed=relaxed)
        assert (body.size, body.digests[None]) == (len(wanted), hashlib.sha256(wanted).digest())


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("unit", [b"x", b"\r\n", b" ", b"\r", b"a \t\r\n", b"\r\r\n"])
def test_a_body_of_one_kind_takes_neither_long_nor_much(unit: bytes, relaxed: bool) -> None:
    megabyte = unit * (1024 * 1024 // len(unit))
    body = BodyHash(relaxed=relaxed, lengths=range(0, 8_000_000, 1_000_000))
    tracemalloc.start()
    began = time.process_time()
    for _ in range(8):
        body.feed([megabyte])
    body.feed([b"end"])
    body.finish()
    assert time.process_time() - began < 4
    assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    tracemalloc.stop()
    assert body.size > 0


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a"]), max_size=12).map(b"".join), st.integers(1, 4))
def test_bare_lf_becomes_crlf_however_it_is_cut(text: bytes, size: int) -> None:
    wanted = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert b"".join(with_crlf(text[at : at + size] for at in range(0, len(text), size))) == wanted


def test_a_relaxed_header_is_what_the_standard_shows() -> None:
    # The example of RFC 6376 section 3.4.5.
    assert relaxed_field(b"a", b" X") == b"a:X"
    assert relaxed_field(b"b", b" Y\t\r\n\tZ  ") == b"b:Y Z"
