from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.delivery.dots import stuffed


def unstuffed(wire: bytes) -> bytes:
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    lines = wire[:-3].split(b"\r\n")
    assert b"." not in lines, "the end may come only once"
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..a\r\n.b\r\n", b"...a\r\n..b\r\n.\r\n"),
        (b"no end", b"no end\r\n.\r\n"),
        (b"a.\r\n", b"a.\r\n.\r\n"),
    ],
)
def test_examples(text: bytes, wire: bytes) -> None:
    assert b"".join(stuffed([text])) == wire


@given(st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a."]), max_size=12), st.integers(1, 9))
def test_any_cut_gives_the_same(lines: list[bytes], cut: int) -> None:
    text = b"".join(line + b"\r\n" for line in lines)
    chunks = [memoryview(text)[at : at + cut] for at in range(0, len(text), cut)]
    wire = b"".join(stuffed(chunks))
    assert unstuffed(wire) == text


def test_clean_chunks_pass_uncopied() -> None:
    chunk = memoryview(b"clean\r\n" * 1000)
    assert next(iter(stuffed([chunk]))) is chunk
