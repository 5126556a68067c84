"""ZIP archives as all programs read them: by their directory and by their local headers."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import time
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.zip import members
from support.attach import PE, budget

AES = base64.b64decode(  # made by 7-Zip, with a password
    "UEsDBDMAAQBjAHWVeF0AAAAAJwAAAAsAAAAIAAsAZXZpbC5leGUBmQcAAgBBRQMAAA/MoW/LolnxcrbrPHaEbxz9J1Fm4j1ol6nNM0t1n/zM"
    "kqfx6inhiFBLAQI/AzMAAQBjAHWVeF0AAAAAJwAAAAsAAAAIAC8AAAAAAAAAIICkgQAAAABldmlsLmV4ZQoAIAAAAAAAAQAYAG6hZLlDfN0B"
    "AAAAAAAAAAAAAAAAAAAAAAGZBwACAEFFAwAAUEsFBgAAAAABAAEAZQAAAFgAAAAAAA=="
)


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as one:
        for name, octets in files.items():
            one.writestr(name, octets)
    return made.getvalue()


def read(octets: bytes, **bounds: float) -> dict[bytes, bytes | None]:
    return {
        name: None if member.read is None else b"".join(member.read())
        for member in members(octets, budget(**bounds))
        for name in member.names
    }


FILES = {"a/b.exe": PE, "empty": b"", "long.txt": b"hello\n" * 50_000, "../up.txt": b"up", "çay.txt": b"tea"}
EXPECTED = {name.encode(): octets for name, octets in FILES.items()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_sound(method: int) -> None:
    made = archive(FILES, method)
    assert read(made) == EXPECTED
    assert read(b"#!/bin/sh\nanything before" + made) == EXPECTED
    assert read(made + b"anything behind") == EXPECTED


def test_folders_are_no_files() -> None:
    assert read(archive({"folder/": b"", "folder/x": b"y"})) == {b"folder/x": b"y"}


def test_an_empty_one() -> None:
    assert read(archive({})) == {}


class Stream(io.RawIOBase):
    """Cannot be sought: what is written there has sizes only behind each member and in the directory."""

    def __init__(self) -> None:
        self.octets = b""

    def writable(self) -> bool:
        return True

    def write(self, octets: bytes) -> int:  # type: ignore[override]
        self.octets += bytes(octets)
        return len(octets)


def streamed(files: dict[str, bytes]) -> bytes:
    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as one:
        for name, octets in files.items():
            one.writestr(name, octets)
    return stream.octets


def test_written_without_going_back() -> None:
    assert read(streamed(FILES)) == EXPECTED
    with pytest.raises(BoundError, match="200 times"):
        list(members(streamed({"zeros": bytes(12_000_000)}), budget()))


def test_sizes_of_over_four_gigabytes() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as one, one.open("large.exe", "w", force_zip64=True) as file:
        file.write(PE)
    assert read(made.getvalue()) == {b"large.exe": PE}


def test_a_directory_that_lies() -> None:
    made = archive({"evil.exe": PE})
    # The directory calls it something else: some programs believe the one, some the other.
    at = made.rfind(b"evil.exe")
    assert set(read(made[:at] + b"safe.txt" + made[at + 8 :])) == {b"evil.exe", b"safe.txt"}


def test_a_directory_that_leaves_something_out() -> None:
    hidden, shown = archive({"evil.exe": PE}), archive({"safe.txt": b"safe"})
    hidden = hidden[: hidden.find(b"PK\x01\x02")]
    assert read(hidden + shown) == {b"evil.exe": PE, b"safe.txt": b"safe"}
    assert read(shown + hidden) == {b"evil.exe": PE, b"safe.txt": b"safe"}


def test_two_archives_one_behind_the_other() -> None:
    assert set(read(archive({"a.txt": b"a"}) + archive({"b.txt": b"b"}))) == {b"a.txt", b"b.txt"}


def test_without_its_directory() -> None:
    made = archive({"evil.exe": PE})
    assert read(made[: made.find(b"PK\x01\x02")]) == {b"evil.exe": PE}


def test_a_name_beside_the_name() -> None:
    made = archive({"safe.txt": b"x"})
    extra = struct.pack("<HHBI", 0x7075, 13, 1, 0) + b"evil.exe"
    head = bytearray(made[: 30 + 8])
    head[28:30] = struct.pack("<H", len(extra))
    assert set(read(bytes(head) + extra + made[38 : made.find(b"PK\x01\x02")])) == {b"safe.txt", b"evil.exe"}


@pytest.mark.parametrize("flags", [1, 0x40, 0x2000])
def test_encrypted(flags: int) -> None:
    made = bytearray(archive({"evil.exe": PE}))
    made[6:8] = struct.pack("<H", flags)
    (member,) = members(bytes(made), budget())
    assert (member.names, member.marks, member.read) == ((b"evil.exe",), frozenset({"encrypted"}), None)
    (member,) = members(AES, budget())
    assert (member.names, member.marks) == ((b"evil.exe",), frozenset({"encrypted"}))


def test_a_method_that_is_not_known_here() -> None:
    (member,) = members(archive({"evil.exe": PE}, zipfile.ZIP_LZMA), budget())
    assert (member.names, member.marks, member.read) == ((b"evil.exe",), frozenset({"unreadable"}), None)


def test_two_methods_are_both_tried() -> None:
    made = bytearray(archive({"evil.exe": PE}, zipfile.ZIP_STORED))
    at = made.find(b"PK\x01\x02")
    made[at + 10 : at + 12] = struct.pack("<H", 8)
    ways = list(members(bytes(made), budget()))
    assert len(ways) == 2
    assert ways[1].read is not None or ways[0].read is not None
    found = []
    for one in ways:
        assert one.read is not None
        try:
            found.append(b"".join(one.read()))
        except DamagedError:
            found.append(b"damaged")
    assert PE in found


@pytest.mark.parametrize("octets", [b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"PK", b"hello"])
def test_what_is_none(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        list(members(octets, budget()))


def test_bounds() -> None:
    many = archive({f"{number}": b"" for number in range(200)})
    with pytest.raises(BoundError, match="over 100 members"):
        read(many, members=100)
    assert len(read(many, members=200)) == 200
    with pytest.raises(BoundError, match="200 times"):
        read(archive({"zeros": bytes(20_000_000)}))
    with pytest.raises(BoundError, match="over 1000000 octets"):
        read(archive({"zeros": bytes(2_000_000)}), archive_octets=1_000_000)


def test_members_that_share_their_octets_are_counted_each() -> None:
    """A bomb of overlapping members: a thousand entries of one directory point to one large member."""
    one = archive({"z": b"0123456789abcdef" * 60_000})
    at, end = one.find(b"PK\x01\x02"), one.find(b"PK\x05\x06")
    entry = one[at:end]
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1000, 1000, 1000 * len(entry), at, 0)
    assert len(list(members(one[:at] + entry * 1000 + tail, budget()))) == 1  # one member is read once


def test_a_directory_of_a_million_entries_takes_no_time() -> None:
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    octets = b"".join(entry[:42] + struct.pack("<I", number) + b"x" for number in range(300_000))
    octets += struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65_535, 65_535, len(octets), 0, 0)
    begun = time.process_time()
    with pytest.raises(BoundError):
        list(members(octets, budget()))
    assert time.process_time() - begun < 1


@given(st.binary(max_size=200), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_any_damage_is_met(octets: bytes, at: int, change: bytes) -> None:
    made = archive({"a.exe": octets, "b": b"x" * 30})
    broken = made[:at] + change + made[at + len(change) :]
    try:
        for member in members(broken, budget()):
            if member.read is not None:
                with contextlib.suppress(DamagedError):
                    list(member.read())
    except (BoundError, DamagedError):
        pass
