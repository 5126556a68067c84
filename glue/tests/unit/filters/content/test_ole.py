"""Compound files: macros, encryption, packages, installers, Outlook messages; and files that would run in circles."""

from __future__ import annotations

import contextlib
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.archive import Member
from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.ole import marks, members
from support.attach import PE, budget, compound

MSI = bytes.fromhex("84100c0000000000c000000000000046")


def record(kind: int, octets: bytes) -> bytes:
    return struct.pack("<HH", kind, len(octets)) + octets


def sheet(kind: int) -> bytes:
    return record(0x85, struct.pack("<IBB", 0, 0, kind) + b"\x05\0Sheet")


def read(octets: bytes, **bounds: float) -> list[Member]:
    return list(members(octets, budget(**bounds)))


def marked(octets: bytes) -> set[str]:
    return set().union(*(member.marks for member in read(octets)))


@pytest.mark.parametrize("size", [100, 5000])  # in the mini stream, and in sectors of their own
def test_streams_come_back(size: int) -> None:
    octets = bytes(range(250)) * (size // 250) + b"end"
    made = compound({"__substg1.0_37010102": octets, "other": b"x" * 700})
    (attachment, whole) = read(made)
    assert attachment.read is not None
    assert b"".join(attachment.read()) == octets
    assert (whole.names, whole.read, whole.marks) == ((), None, frozenset())


@pytest.mark.parametrize(
    ("octets", "mark"),
    [
        (compound({"WordDocument": bytes(5000), "_VBA_PROJECT": b"x"}), "macros"),
        (compound({"Workbook": bytes(100), "_VBA_PROJECT_CUR": b""}), "macros"),
        (compound({"Workbook": record(0x809, bytes(16)) + sheet(0) + sheet(1) + record(10, b"")}), "macros"),
        (compound({"Workbook": record(0x809, bytes(16)) + record(0x2F, bytes(6))}), "encrypted"),
        (compound({"WordDocument": bytes(10) + b"\0\x01" + bytes(500)}), "encrypted"),
        (compound({"EncryptionInfo": b"x", "EncryptedPackage": bytes(9000)}), "encrypted"),
        (compound({"\x01Ole10Native": bytes(50)}), "ole_package"),
        (compound({"x": b"y"}, MSI), "msi"),
    ],
)
def test_marks(octets: bytes, mark: str) -> None:
    assert marked(octets) == {mark}


def test_an_ordinary_document_has_none() -> None:
    assert marked(compound({"WordDocument": bytes(5000), "1Table": bytes(500), "Workbook": sheet(0)})) == set()


def test_macros_are_seen_in_a_damaged_file() -> None:
    made = compound({"_VBA_PROJECT": b"x"})
    broken = made[:48] + b"\xff\xff\xff\x7f" + made[52:]  # the directory is elsewhere
    assert marks(broken, budget()) == {"macros"}
    with pytest.raises(DamagedError):
        read(broken)
    assert marks(compound({"x": b"y"}), budget()) == set()


def test_a_package_is_unwrapped() -> None:
    inner = b"\x02\0label.exe\0C:\\path\\evil.exe\0" + bytes(4) + struct.pack("<I", 5) + b"tmp.\0"
    native = struct.pack("<I", len(inner) + 4 + len(PE)) + inner + struct.pack("<I", len(PE)) + PE
    for octets in (native, native + bytes(6000)):
        package = read(compound({"\x01Ole10Native": octets}))[0]
        assert package.names == (b"label.exe", b"C:\\path\\evil.exe")
        assert package.read is not None
        assert b"".join(package.read()).startswith(PE)


def test_an_outlook_message() -> None:
    made = compound({"__substg1.0_3707001F": "çay.exe".encode("utf-16-le"), "__substg1.0_3704001E": b"CAY.EXE"})
    assert [member.names for member in read(made) if member.names] == [("çay.exe".encode(),), (b"CAY.EXE",)]


@pytest.mark.parametrize(
    "octets", [b"", bytes(600), compound({"x": b"y"})[:600], compound({"x": b"y"})[:30] + bytes(2000)]
)
def test_what_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        read(octets)


def test_a_table_that_runs_in_circles_takes_no_time() -> None:
    # A file of tables alone, each of whose entries is the sector itself.
    sectors = 20_000
    head = compound({"x": b"y"})[:76]
    head = head[:44] + struct.pack("<III", sectors, 0, 0) + head[56:60] + struct.pack("<IIII", 0, 9, 5, sectors)
    circle = b"".join(struct.pack("<I", 5) for _ in range(128))
    entry = ("Workbook".encode("utf-16-le") + b"\0\0").ljust(64, b"\0") + struct.pack("<HBBIII", 18, 2, 1, 1, 1, 1)
    entry += bytes(36) + struct.pack("<IQ", 5, 2**32 - 1)
    directory = (entry * 4)[:512]
    made = head[:76] + struct.pack("<109I", *[5] * 109) + directory + circle * sectors
    begun = time.process_time()
    with contextlib.suppress(BoundError, DamagedError):
        read(made, seconds=2.0)
    assert time.process_time() - begun < 4


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_any_damage_is_met(at: int, change: bytes) -> None:
    made = compound({"Workbook": sheet(1) * 9, "\x01Ole10Native": b"x" * 90, "__substg1.0_37010102": bytes(5000)})
    broken = made[:at] + change + made[at + len(change) :]
    try:
        for member in members(broken, budget(seconds=2.0)):
            if member.read is not None:
                list(member.read())
    except (BoundError, DamagedError):
        pass
