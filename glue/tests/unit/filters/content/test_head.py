"""The header of a message: found wherever its pieces end, and never more than the bound is read."""

from __future__ import annotations

import pytest

from postane.filters.content.head import beginning, head

MESSAGE = b"From: a@b.example\r\nTo: c@d.example\r\n\r\nbody\r\n\r\nmore\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_header_and_body_from_pieces(size: int) -> None:
    pieces = [MESSAGE[at : at + size] for at in range(0, len(MESSAGE), size)]
    assert beginning(pieces, 1000) == (b"From: a@b.example\r\nTo: c@d.example", b"body\r\n\r\nmore\r\n")


def test_bounds() -> None:
    assert head([MESSAGE], 10) == b"From: a@b."
    assert beginning([MESSAGE], 41) == (b"From: a@b.example\r\nTo: c@d.example", b"bod")
    assert beginning([b"\r\nbody"], 100) == (b"", b"body")
    assert beginning([b"Subject: x\r\n"], 100) == (b"Subject: x\r\n", b"")
    assert beginning([], 100) == (b"", b"")
