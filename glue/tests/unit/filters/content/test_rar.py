"""Names and encryption in RAR archives of both versions, built here by their description."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.archive import Member
from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.rar import members
from support.attach import PE, budget

OLD, NEW = b"Rar!\x1a\x07\0", b"Rar!\x1a\x07\x01\0"


def old_block(kind: int, flags: int, rest: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<HBHH", 0, kind, flags, 7 + len(rest)) + rest + data


def old_file(name: bytes, flags: int = 0, data: bytes = b"data", high: bytes = b"") -> bytes:
    rest = struct.pack("<IIBIIBBHI", len(data), len(data), 2, 0, 0, 29, 0x30, len(name), 0x20)
    return old_block(0x74, 0x8000 | flags, rest + high + name, data)


OLD_MAIN, OLD_END = old_block(0x73, 0, bytes(6)), old_block(0x7B, 0, b"")


def number(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def new_block(kind: int, rest: bytes, extra: bytes = b"", data: bytes = b"") -> bytes:
    flags = bool(extra) | bool(data) << 1
    fields = number(kind) + number(flags)
    fields += (number(len(extra)) if extra else b"") + (number(len(data)) if data else b"")
    fields += rest + extra
    return bytes(4) + number(len(fields)) + fields + data


def new_file(name: bytes, extra: bytes = b"", data: bytes = b"data") -> bytes:
    rest = number(4) + number(len(data)) + number(0x20) + bytes(4) + number(0) + number(1) + number(len(name)) + name
    return new_block(2, rest, extra, data)


NEW_MAIN, NEW_END = new_block(1, number(0)), new_block(5, number(0))
ENCRYPTION = number(4) + number(1) + b"abc"  # its size, its type, and what else it has


def read(octets: bytes, **bounds: float) -> list[Member]:
    return list(members(octets, budget(**bounds)))


@pytest.mark.parametrize(
    "octets",
    [
        OLD + OLD_MAIN + old_file(b"a.txt") + old_file(b"b\\evil.exe") + OLD_END,
        NEW + NEW_MAIN + new_file(b"a.txt") + new_file(b"b\\evil.exe") + NEW_END,
        NEW + NEW_MAIN + new_file(b"a.txt", data=b"x" * 70_000) + new_file(b"b\\evil.exe"),
        PE + OLD + OLD_MAIN + old_file(b"a.txt") + old_file(b"b\\evil.exe"),
        OLD + OLD_MAIN + old_file(b"a.txt", 0x100, high=bytes(8)) + old_file(b"b\\evil.exe"),
    ],
    ids=["old", "new", "long", "after a program", "large"],
)
def test_names(octets: bytes) -> None:
    assert [member.names for member in read(octets)] == [(b"a.txt",), (b"b\\evil.exe",)]
    assert not any(member.marks for member in read(octets))


def test_a_name_beside_the_name() -> None:
    # The second name: high octet, then two bits a character: 0 for Latin, 1 for the high octet, 2 for two octets.
    packed = b"\x04" + b"\x54" + b"\x30" + b"\x31" + b"\x32" + b"." + b"\x00" + b"exe"
    name = b"????.txt\0" + packed
    (member,) = read(OLD + OLD_MAIN + old_file(name, 0x200))
    assert member.names[0] == b"????.txt"
    assert member.names[1].decode() == "абв.exe"


def test_the_same_in_utf8() -> None:
    (member,) = read(OLD + OLD_MAIN + old_file("çay.txt".encode(), 0x200))
    assert member.names == ("çay.txt".encode(),)


@pytest.mark.parametrize(
    "octets",
    [OLD + OLD_MAIN + old_file(b"evil.exe", 4) + OLD_END, NEW + NEW_MAIN + new_file(b"evil.exe", ENCRYPTION) + NEW_END],
)
def test_encrypted(octets: bytes) -> None:
    (member,) = read(octets)
    assert (member.names, member.marks) == ((b"evil.exe",), frozenset({"encrypted"}))


@pytest.mark.parametrize(
    "octets", [OLD + old_block(0x73, 0x80, bytes(6)) + b"noise", NEW + new_block(4, bytes(20)) + b"noise"]
)
def test_encrypted_headers(octets: bytes) -> None:
    (member,) = read(octets)
    assert (member.names, member.marks) == ((), frozenset({"encrypted"}))


@pytest.mark.parametrize("octets", [b"", OLD, NEW, b"Rar!\x1a\x07\x02", OLD + OLD_MAIN + b"x" * 50, NEW + b"\xff" * 60])
def test_what_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        read(octets)


LONG = number(300) + number(1) + bytes(300)


@pytest.mark.parametrize(
    "octets",
    [
        OLD + OLD_MAIN + old_file(b"a.txt") + old_block(0x60, 0, b"") + old_file(b"evil.exe") + OLD_END,
        OLD + OLD_MAIN + old_file(b"a.txt") + struct.pack("<HBHH", 0, 0x74, 0, 3) + old_file(b"evil.exe"),
        (OLD + OLD_MAIN + old_file(b"a.txt"))[:-2],
        NEW + NEW_MAIN + new_file(b"a.txt") + bytes(4) + b"\xff" * 12 + new_file(b"evil.exe") + NEW_END,
        NEW + NEW_MAIN + new_file(b"a.txt") + bytes(8) + new_file(b"evil.exe") + NEW_END,
        NEW + NEW_MAIN + new_file(b"a.txt") + new_file(b"evil.exe", LONG * 300 + ENCRYPTION) + NEW_END,
        (NEW + NEW_MAIN + new_file(b"a.txt"))[:-2],
    ],
)
def test_an_archive_that_goes_on_where_it_cannot_be_followed_is_unreadable(octets: bytes) -> None:
    *_, last = read(octets)
    assert (last.names, last.marks) == ((), frozenset({"unreadable"}))
    assert read(octets)[0].names == (b"a.txt",)


def test_bounds() -> None:
    with pytest.raises(BoundError):
        read(OLD + OLD_MAIN + old_file(b"x") * 50, members=20)
    with pytest.raises(BoundError):
        read(NEW + NEW_MAIN + new_file(b"x") * 50, members=20)


@given(st.binary(max_size=120), st.sampled_from([OLD, NEW, OLD + OLD_MAIN, NEW + NEW_MAIN]))
def test_anything_is_met(octets: bytes, lead: bytes) -> None:
    for text in (lead + octets, lead + old_file(b"a") + octets, lead + new_file(octets, octets) + octets):
        with contextlib.suppress(BoundError, DamagedError):
            read(text)
