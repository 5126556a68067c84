"""The journal's lines: read back in order; a torn end is cut off, and what is written after it is read."""

from __future__ import annotations

import zlib
from pathlib import Path

from postane.core.outcome import Progress
from postane.spool.journal import Journal, Line, read


def lines(path: Path) -> list[str]:
    return [line.message_id + ("!" if line.done else "") for line in read(path)]


def test_torn_end(tmp_path: Path) -> None:
    path = tmp_path / "1.jnl"
    journal = Journal(path)
    journal.note(Line("a", progress=Progress(held=True)))
    journal.note(Line("b", done=True))
    journal.write(journal.take())
    journal.close()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert lines(path) in ([], ["a"])
        again = Journal(path)
        again.note(Line("c", done=True))
        again.write(again.take())
        again.close()
        assert lines(path)[-1] == "c!"
    path.write_bytes(whole)
    assert lines(path) == ["a", "b!"]
    assert read(path)[0].progress == Progress(held=True)


def test_a_flipped_bit_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "1.jnl"
    journal = Journal(path)
    journal.note(Line("a"))
    journal.note(Line("b"))
    journal.write(journal.take())
    journal.close()
    octets = bytearray(path.read_bytes())
    octets[-4] ^= 1
    path.write_bytes(octets)
    assert lines(path) == ["a"]


def test_no_file_is_no_lines(tmp_path: Path) -> None:
    assert lines(tmp_path / "none.jnl") == []


def test_line_in_the_middle_that_says_nothing(tmp_path: Path) -> None:
    """Its CRC fits, but it was written by a version to come, or by nobody; the lines around it count."""
    path = tmp_path / "1.jnl"
    for text in (b"{}", b"[1]", b'{"id":"x\xff"}', b'{"id":' + b"[" * 100_000, b""):
        with path.open("wb") as file:
            for line in (b'{"id":"a","done":true}', text, b'{"id":"b"}'):
                file.write(b"%08x %s\n" % (zlib.crc32(line), line))
        whole = path.read_bytes()
        assert lines(path) == ["a!", "b"]
        assert path.read_bytes() == whole, "nothing is cut off"
