"""Attachments in winmail.dat."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.tnef import members
from support.attach import PE, budget

HEAD = b"\x78\x9f\x3e\x22\x01\0"


def attribute(number: int, octets: bytes) -> bytes:
    return struct.pack("<BII", 2, number, len(octets)) + octets + struct.pack("<H", sum(octets) & 0xFFFF)


LONG = b"\x1f\0\x07\x37" + struct.pack("<II", 1, 18) + "evil.exe\0".encode("utf-16-le")
WRAPPED = HEAD + attribute(0x00018010, b"EVIL.EXE\0") + attribute(0x0006800F, PE) + attribute(0x00069005, LONG)


def test_names_and_content() -> None:
    title, data, long = members(WRAPPED, budget())
    assert title.names == (b"EVIL.EXE",)
    assert data.read is not None
    assert b"".join(data.read()) == PE
    assert long.names[0].rstrip(b"\0") == b"evil.exe"


@pytest.mark.parametrize("octets", [HEAD, b"", HEAD + attribute(0x0006800F, bytes(500))[:100]])
def test_what_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        list(members(octets, budget()))


def test_bounds() -> None:
    with pytest.raises(BoundError):
        list(members(HEAD + attribute(0x0006800F, b"x") * 50, budget(members=20)))


@given(st.integers(0, 300), st.binary(min_size=1, max_size=8))
def test_any_damage_is_met(at: int, change: bytes) -> None:
    try:
        for member in members(WRAPPED[:at] + change + WRAPPED[at + len(change) :], budget()):
            if member.read is not None:
                list(member.read())
    except DamagedError:
        pass
