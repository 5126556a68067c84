"""A text on its way in, in whatever pieces."""

from __future__ import annotations

import sys
from pathlib import Path

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
