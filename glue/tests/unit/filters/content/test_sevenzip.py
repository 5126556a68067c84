"""Names and encryption in 7z archives that 7-Zip made."""

from __future__ import annotations

import base64
import contextlib

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
