"""A text on its way in, in whatever pieces."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import pytest

from postane.spool.draft import Draft


def test_small_pieces_cost_little_more_than_their_octets(tmp_path: Path) -> None:
    draft = Draft(tmp_path, "x", 1_000_000)
    for number in range(50_000):
        draft.append(b"%02d" % (number % 100))
    assert draft.size == 100_000
    assert draft.bytes() == b"".join(b"%02d" % (number % 100) for number in range(50_000))
    assert sum(sys.getsizeof(chunk) for chunk in draft.chunks()) < 120_000


def test_pieces_keep_their_order(tmp_path: Path) -> None:
    draft = Draft(tmp_path, "x", 5_000)
    text = b""
    for number in range(300):
        piece = b"%d," % number * (1 + number % 7 * (number % 40))
        text += piece
        draft.append(piece)
    assert draft.spilled
    assert draft.bytes() == text
    draft.discard()


@pytest.mark.parametrize("limit", [1_000_000, 5_000])
def test_octets_are_overwritten_in_memory_and_in_the_file(tmp_path: Path, limit: int) -> None:
    draft = Draft(tmp_path, "x", limit)
    for _ in range(300):
        draft.append(b"0123456789" * 10)
    text = bytearray(draft.bytes())
    text[5:8], text[15_000:15_004] = b"abc", b"wxyz"
    draft.overwrite([(5, b"abc"), (15_000, b"wxyz")])
    assert draft.spilled is (limit < 30_000)
    assert draft.bytes() == text
    assert draft.size == len(text)
    if draft.spilled:
        assert draft.crc() == zlib.crc32(text)
    draft.append(b"more")
    assert draft.bytes() == text + b"more"
    for at, octets in ((draft.size - 1, b"ab"), (-1, b"a")):
        with pytest.raises(ValueError, match="outside"):
            draft.overwrite([(at, octets)])
    draft.discard()
