"""The text reader against every way of cutting what it is fed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.smtpd.text import BARE_NEWLINE, LONG_LINE, NUL, TOO_BIG, TextReader


def read(blocks: list[bytes], *, size: int = 10_000, line: int = 1000) -> tuple[bytes, bytes | None, str]:
    """(text, rest after the end or None, fault)."""
    kept: list[bytes] = []
    reader = TextReader(kept.append, size, line)
    for number, block in enumerate(blocks):
        rest = reader.feed(block) if block else None
        if rest is not None:
            return b"".join(kept), rest + b"".join(blocks[number + 1 :]), reader.fault
    return b"".join(kept), None, reader.fault


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"...\r\n..\r\n.\r\n", b"..\r\n.\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
    ],
)
def test_dots_and_end(wire: bytes, text: bytes) -> None:
    for cut in range(len(wire) + 1):
        assert read([wire[:cut], wire[cut:]]) == (text, b"", "")
    assert read([wire[i : i + 1] for i in range(len(wire))]) == (text, b"", "")


def test_rest_is_given_back() -> None:
    assert read([b"a\r\n.\r\nMAIL FROM:<x@y>\r\n"]) == (b"a\r\n", b"MAIL FROM:<x@y>\r\n", "")


@pytest.mark.parametrize(
    "false_end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n"]
)
def test_no_other_end_ends(false_end: bytes) -> None:
    """The smuggler's line ends: never an end, always a fault, at any cut."""
    wire = b"a" + false_end + b"MAIL FROM:<evil@x>\r\n.\r\n"
    for cut in range(len(wire) + 1):
        text, rest, fault = read([wire[:cut], wire[cut:]])
        assert rest == b""
        assert fault in (BARE_NEWLINE, NUL)
        assert len(text) <= cut


def test_fault_keeps_nothing_more() -> None:
    text, rest, fault = read([b"a\nb\r\n", b"c\r\n", b".\r\n"])
    assert (text, rest, fault) == (b"", b"", BARE_NEWLINE)


def test_too_big_is_read_to_its_end() -> None:
    text, rest, fault = read([b"x" * 60 + b"\r\n", b"y" * 60 + b"\r\n.\r\nQUIT\r\n"], size=100)
    assert (len(text), rest, fault) == (60, b"QUIT\r\n", TOO_BIG)


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 20), st.lists(st.integers(1, 40), max_size=30))
def test_line_limit(lengths: list[int], limit: int, cuts: list[int]) -> None:
    """A fault if and only if a line is longer than the limit, however the text is cut."""
    wire = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
    blocks, at = [], 0
    for cut in cuts:
        blocks.append(wire[at : at + cut])
        at += cut
    blocks.append(wire[at:])
    _, rest, fault = read(blocks, line=limit)
    assert rest == b""
    assert (fault == LONG_LINE) == any(length > limit for length in lengths)


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=20))
def test_cuts_do_not_matter(wire: bytes, cuts: list[int]) -> None:
    """The same octets in one block and in many give the same text, rest and fault."""
    wire = wire.replace(b"a", b"\r\n").replace(b"b", b".") + b"\r\n.\r\n"
    blocks, at = [], 0
    for cut in cuts:
        blocks.append(wire[at : at + cut])
        at += cut
    blocks.append(wire[at:])
    text, rest, fault = read([wire])
    cut_text, cut_rest, cut_fault = read(blocks)
    assert (cut_rest, cut_fault) == (rest, fault)
    if not fault:
        assert cut_text == text


def test_chunks_are_counted_not_searched() -> None:
    kept: list[bytes] = []
    reader = TextReader(kept.append, 1000, 1000)
    reader.feed_chunk(b"a\r\n.\r")
    reader.feed_chunk(b"\n..b\r\n")
    reader.end_chunks()
    assert (b"".join(kept), reader.fault, reader.size) == (b"a\r\n.\r\n..b\r\n", "", 11)


def test_chunk_that_ends_in_a_bare_cr() -> None:
    reader = TextReader(lambda block: None, 1000, 1000)
    reader.feed_chunk(b"a\r")
    reader.end_chunks()
    assert reader.fault == BARE_NEWLINE
