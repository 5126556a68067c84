"""Names and encryption in 7z archives that 7-Zip made."""

from __future__ import annotations

import base64
import contextlib
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.archive import Member
from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.sevenzip import members
from support.attach import PE, budget

PLAIN = base64.b64decode(
    "N3q8ryccAASaMRmHegAAAAAAAAAgAAAAAAAAAM/mIr4BAA5NWiBleGUgaGVyZXRleHQAAACBMweuD88n8IwHyEN/QbH6/eEttTvWSDAwwDpC/VRL"
    "I3cHLHgd00NTvaIC47W6/GzUkIdVJYmjt1JKehvyaei93k9CrUQKc6FnQE+txyixSyuHj86OB8eZu52VPCko8fjq6QAAABcGEwEJZwAHCwEAASMD"
    "AQEFXQAQAAAMdgoBURZXgAAA"
)
WITH_PASSWORD = base64.b64decode(
    "N3q8ryccAAT+BrioEAAAAAAAAABqAAAAAAAAAJMM3Z6VQXCb4M/XQDykr5ITS/KNAQQGAAEJEAAHCwEAAiQG8QcBElMPIRU59QsE52yoR5VV/S//"
    "PiEhAQABAAwPCwAICgHcqLcUAAAFARkBABETAGUAdgBpAGwALgBlAHgAZQAAABkAFAoBAG6hZLlDfN0BFQYBACCApIEAAA=="
)
WITH_HIDDEN_NAMES = base64.b64decode(
    "N3q8ryccAATdagXCgAAAAAAAAAAuAAAAAAAAAKcTFlKewGkOmaBy9kzYGK/fNExqQLMaeCO7NeMsPHS7kFhu4eGMQKyhBUPDv+ktNnMikO7L1oet"
    "aZkRtowzWr+z4Vq81GJVzMfs+FNVjWz8dYU4KajRDH/O9f231PS8e8wO+KCgVl2kTufYWT2QXY/eB6QYydUfZW5WOI1GQ8IQM4tiOhcGEAEJcAAH"
    "CwEAASQG8QcBElMPwAk7Jo1e+D3tEeBuV6CFLwxqCgGzkjPWAAA="
)


def read(octets: bytes, **bounds: float) -> list[Member]:
    return list(members(octets, budget(**bounds)))


def test_names() -> None:
    for octets in (PLAIN, PE + PLAIN):
        assert [member.names for member in read(octets)] == [(b"evil.exe",), ("çay.txt".encode(),)]
        assert not any(member.marks for member in read(octets))


def test_encrypted() -> None:
    (member,) = read(WITH_PASSWORD)
    assert (member.names, member.marks) == ((b"evil.exe",), frozenset({"encrypted"}))
    (member,) = read(WITH_HIDDEN_NAMES)
    assert (member.names, member.marks) == ((), frozenset({"encrypted"}))


@pytest.mark.parametrize(
    "octets",
    [b"", PLAIN[:20], PLAIN[:-5], PLAIN[:32] + bytes(len(PLAIN) - 32), PLAIN[:60] + b"\xff" * 60 + PLAIN[120:]],
)
def test_what_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        read(octets)


def archive(header: bytes) -> bytes:
    """One whose header is not packed."""
    return b"7z\xbc\xaf\x27\x1c\0\4" + bytes(4) + struct.pack("<QQI", 0, len(header), 0) + header


def names(*several: str) -> bytes:
    """The property of names."""
    text = "".join(f"{name}\0" for name in several).encode("utf-16-le")
    return b"\x11" + bytes((len(text) + 1,)) + b"\0" + text


def test_names_that_play_tricks() -> None:
    turned = "exe\u202efdp.scr"
    (member,) = read(archive(b"\1\5\1" + names(turned) + b"\0\0"))
    assert member.names == (turned.encode(),)
    # What looks like names and is not does not hide them.
    said = read(archive(b"\1\5\1\x19\x20" + names("harmless.txt") + names("evil.exe") + b"\0\0"))
    assert {name for member in said for name in member.names} == {b"harmless.txt", b"evil.exe"}


@pytest.mark.parametrize("header", [b"\1\5\1\0\0", b"\1\5\1" + names("a\nb.exe") + b"\0\0", b"\1" + bytes(40)])
def test_an_archive_whose_names_are_not_found_is_unreadable(header: bytes) -> None:
    (member,) = read(archive(header))
    assert (member.names, member.marks) == ((), frozenset({"unreadable"}))


def test_an_empty_archive() -> None:
    assert read(archive(b"")) == []
    assert read(archive(b"\1\0")) == []


def test_a_header_full_of_beginnings_costs_no_more_than_its_time() -> None:
    begun = time.process_time()
    with contextlib.suppress(BoundError):
        read(archive(b"\1" + b"\x11\xc0\xfd\xff\0" * 100_000 + b"\0\0" * 40_000), seconds=0.5)
    assert time.process_time() - begun < 5


def test_bounds() -> None:
    with pytest.raises(BoundError):
        read(PLAIN, members=1)
    with pytest.raises(BoundError, match="header of"):
        read(PLAIN[:20] + b"\xff" * 7 + b"\0" + PLAIN[28:])


@given(
    st.sampled_from([PLAIN, WITH_PASSWORD, WITH_HIDDEN_NAMES]), st.integers(6, 200), st.binary(min_size=1, max_size=4)
)
def test_any_damage_is_met(octets: bytes, at: int, change: bytes) -> None:
    with contextlib.suppress(BoundError, DamagedError):
        read(octets[:at] + change + octets[at + len(change) :])
