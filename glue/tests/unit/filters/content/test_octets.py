"""Octets in memory and in maps are searched and cut alike."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from postane.filters.content import octets as module
from postane.filters.content.octets import Octets, every, find, keep, whole, windows
from postane.spool.draft import Draft
from support.attach import budget


def mapped(text: bytes) -> mmap.mmap:
    made = mmap.mmap(-1, len(text))
    made.write(text)
    return made


TEXT = b"ab--ab---ab" * 7


@pytest.mark.parametrize("window", [2, 3, 7, 1000])
@pytest.mark.parametrize("made", [TEXT, mapped(TEXT)], ids=["bytes", "map"])
def test_a_search_finds_what_lies_between_two_windows(
    made: Octets, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", window)
    expected = [at for at in range(len(TEXT)) if TEXT.startswith(b"--", at)]
    assert list(every(made, b"--", 0, len(TEXT), budget())) == expected
    assert find(made, b"--", 5, len(TEXT), budget()) == TEXT.find(b"--", 5)
    assert find(made, b"--", 5, 8, budget()) == TEXT.find(b"--", 5, 8)
    assert find(made, b"no", 0, len(TEXT), budget()) == -1
    assert b"".join(windows(made, 3, 30)) == TEXT[3:30]


def test_a_small_message_is_joined_and_a_large_one_is_not_held_twice(tmp_path: Path) -> None:
    assert whole([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == b"abcdef"
    one = b"x" * 100
    assert whole([one]) is one
    large = whole([b"x" * 700_000, b"y" * 700_000])
    assert isinstance(large, mmap.mmap)
    assert (len(large), large[699_999:700_001]) == (1_400_000, b"xy")
    draft = Draft(tmp_path, "draft", 1000)
    draft.append(b"z" * 5000)
    chunks = draft.chunks()
    spilled = whole(chunks)
    assert isinstance(spilled, mmap.mmap)
    assert spilled is chunks[0].obj  # type: ignore[union-attr]
    draft.discard()
    assert spilled[:3] == b"zzz"  # it lives as long as somebody looks at it


def test_what_is_kept() -> None:
    assert keep(iter([])) == b""
    assert keep([b"a", b"b"]) == b"ab"
    large = keep(b"0123456789abcdef" * 4096 for _ in range(40))
    assert isinstance(large, mmap.mmap)
    assert len(large) == 40 * 65_536
