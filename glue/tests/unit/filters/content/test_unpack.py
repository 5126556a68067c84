"""Compressed streams: sound, several, damaged, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator

import pytest

from postane.filters.content import unpack
from postane.filters.content.budget import BoundError, Budget, DamagedError
from support.attach import budget

TEXT = b"".join(b"line %d\n" % number for number in range(30_000))

Unpack = Callable[[bytes, Budget], Iterator[bytes]]
WAYS: dict[str, tuple[Callable[[bytes], bytes], Unpack]] = {
    "gzip": (gzip.compress, unpack.gzip),
    "bzip2": (bz2.compress, lambda octets, one: unpack.bzip2(octets, 0, len(octets), one)),
    "xz": (lzma.compress, unpack.xz),
    "deflate": (
        lambda text: zlib.compress(text)[2:-4],
        lambda octets, one: unpack.deflated(octets, 0, len(octets), one),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", [b"", b"x", TEXT, bytes(1_000_000)], ids=["empty", "one", "text", "zeros"])
def test_what_was_packed_comes_back(way: str, text: bytes) -> None:
    pack, unpacked = WAYS[way]
    pieces = list(unpacked(pack(text), budget(ratio=10_000)))
    assert b"".join(pieces) == text
    assert max(map(len, pieces), default=0) <= 256 * 1024


@pytest.mark.parametrize("way", ["gzip", "bzip2", "xz"])
def test_streams_one_behind_another_and_what_follows_them(way: str) -> None:
    pack, unpacked = WAYS[way]
    assert b"".join(unpacked(pack(b"one ") + pack(b"two"), budget())) == b"one two"
    assert b"".join(unpacked(pack(b"one") + bytes(700), budget())) == b"one"
    assert b"".join(unpacked(pack(b"one") + b"signature", budget())) == b"one"


@pytest.mark.parametrize("way", WAYS)
def test_damaged_streams(way: str) -> None:
    pack, unpacked = WAYS[way]
    packed = pack(TEXT)
    assert TEXT.startswith(b"".join(unpacked(packed[: len(packed) // 2], budget())))
    with pytest.raises(DamagedError):
        list(unpacked(packed[:20] + bytes(range(255, 0, -1)) * 100, budget()))


@pytest.mark.parametrize("way", WAYS)
def test_bombs(way: str) -> None:
    pack, unpacked = WAYS[way]
    bomb = pack(bytes(20_000_000))
    with pytest.raises(BoundError, match="200 times"):
        list(unpacked(bomb, budget()))
    with pytest.raises(BoundError, match="over 5000000 octets"):
        list(unpacked(bomb, budget(ratio=100_000, archive_octets=5_000_000)))


def test_xz_may_not_have_all_the_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 * 1024 * 1024, "preset": 0}]
    packed = lzma.compress(b"x", lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(DamagedError):
        list(unpack.xz(packed, budget()))
