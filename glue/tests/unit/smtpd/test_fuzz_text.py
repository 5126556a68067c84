"""Any text in any blocks against a judge that reads it whole: its end, its octets, its faults, with and without
normalizing. POSTANE_FUZZ_SESSIONS sets how many."""

from __future__ import annotations

import os
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from postane.smtpd.text import TextReader
from support.talk import cut

MANY = int(os.environ.get("POSTANE_FUZZ_SESSIONS", "100"))
END = b"\r\n.\r\n"
PIECES = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b".", b"\r\n.", b"\n.", b"a", b"\0", b"x" * 19, b"x" * 20, b"x" * 21, b"\r\n."]
    ),
    max_size=24,
)
CUTS = st.lists(st.integers(0, 400), max_size=10)


def judge(wire: bytes, *, normalize: bool, dots: bool) -> bytes | None:
    """What is to be kept of a whole text; None if it is to be refused."""
    if dots:
        wire = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in wire.split(b"\r\n"))
    bare = re.compile(rb"\r(?!\n)|(?<!\r)\n")
    if bare.search(wire):
        if not normalize:
            return None
        wire = bare.sub(b"\r\n", wire)
    return None if b"\0" in wire else wire


@given(PIECES, CUTS, st.booleans())
@settings(max_examples=MANY, deadline=None)
def test_data(pieces: list[bytes], places: list[int], normalize: bool) -> None:
    wire = b"".join(pieces) + END + b"RSET\r\n"
    kept: list[bytes] = []
    reader = TextReader(kept.append, 10_000, 1000, normalize=normalize)
    rest, blocks = None, cut(wire, [place for place in places if place < len(wire)])
    while rest is None:
        rest = reader.feed(blocks.pop(0))
    end = (b"\r\n" + wire).index(END) - 2
    assert rest + b"".join(blocks) == wire[end + 5 :]
    wanted = judge(wire[: end + 2] if end >= 0 else b"", normalize=normalize, dots=True)
    assert (b"".join(kept) if not reader.fault else None) == wanted
    if wanted is not None:
        assert reader.size == len(wanted)


@given(PIECES, CUTS, st.booleans())
@settings(max_examples=MANY, deadline=None)
def test_chunks(pieces: list[bytes], places: list[int], normalize: bool) -> None:
    wire = b"".join(pieces)
    kept: list[bytes] = []
    reader = TextReader(kept.append, 10_000, 1000, normalize=normalize)
    for chunk in cut(wire, [place for place in places if place < len(wire)]):
        reader.feed_chunk(chunk)
    reader.end_chunks()
    assert (b"".join(kept) if not reader.fault else None) == judge(wire, normalize=normalize, dots=False)


@given(st.lists(st.integers(0, 30), max_size=12), CUTS)
@settings(max_examples=MANY, deadline=None)
def test_lines_that_became_whole_are_measured_too(lengths: list[int], places: list[int]) -> None:
    """With bare CR and LF between them, lines are as long as they are in the end."""
    wire = b"".join(b"x" * length + (b"\r\n", b"\r", b"\n")[number % 3] for number, length in enumerate(lengths))
    reader = TextReader(lambda block: None, 10_000, 20, normalize=True)
    whole = wire + (b"" if wire.endswith(b"\r\n") or not wire else b"\r\n") + b".\r\n"
    ended = [reader.feed(block) for block in cut(whole, [place for place in places if place < len(whole)])]
    assert ended[-1] == b""
    assert bool(reader.fault) == any(length > 20 for length in lengths)
