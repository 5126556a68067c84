"""The names of the files in cabinets."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.cab import members
from support.attach import PE, budget

ONE = base64.b64decode(  # made by gcab
    "TVNDRgAAAABYAAAAAAAAACwAAAAAAAAAAwEBAAEAAAAAAAAARQAAAAEAAAALAAAAAAAAAAAAeF10lSAAZXZpbC5leGUAW01uDQsACwBNWiBl"
    "eGUgaGVyZQ=="
)


def test_names() -> None:
    assert [member.names for member in members(ONE, budget())] == [(b"evil.exe",)]
    assert [member.names for member in members(PE + ONE, budget())] == [(b"evil.exe",)]


def test_one_that_is_cut_short_or_none() -> None:
    for octets in (ONE[:50], ONE[:20], b"MSCF", b""):
        with pytest.raises(DamagedError):
            list(members(octets, budget()))


def test_bounds() -> None:
    many = ONE[:28] + b"\xff\xff" + ONE[30:69] + ONE[69:] + b"x" * 100_000
    with pytest.raises((BoundError, DamagedError)):
        list(members(many, budget(members=10)))


@given(st.integers(0, 90), st.binary(min_size=1, max_size=8))
def test_any_damage_is_met(at: int, change: bytes) -> None:
    with contextlib.suppress(BoundError, DamagedError):
        list(members(ONE[:at] + change + ONE[at + len(change) :], budget()))
