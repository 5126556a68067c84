"""Each bound by itself."""

from __future__ import annotations

import time

import pytest

from postane.filters.content.budget import BoundError, Bounds, Budget, LaterError
from support.attach import budget


def test_numbers() -> None:
    one = budget(parts=2, members=2, archive_depth=2, archive_octets=1000)
    one.part(0)
    one.part(0)
    with pytest.raises(BoundError, match="over 2 parts"):
        one.part(0)
    one.member()
    one.member()
    with pytest.raises(BoundError, match="over 2 members"):
        one.member()
    one.nested(2)
    with pytest.raises(BoundError, match="nest over 2"):
        one.nested(3)
    one.unpack(1000)
    with pytest.raises(BoundError, match="over 1000 octets"):
        one.unpack(1)
    with pytest.raises(BoundError, match="over 1000 octets"):
        one.declared(1000, 1001)


def test_a_ratio_is_no_matter_of_small_files() -> None:
    one = budget(ratio=10)
    one.ratio(1, 1_000_000)
    one.ratio(2_000_000, 20_000_000)
    with pytest.raises(BoundError, match="10 times"):
        one.ratio(1_000_000, 20_000_000)


def test_names_are_not_remembered_without_end() -> None:
    one = budget()
    with pytest.raises(BoundError, match="names"):
        for _ in range(3000):
            one.named(255)


def test_time() -> None:
    late = Budget(Bounds(seconds=2), time.monotonic() - 1)
    with pytest.raises(BoundError, match="over 2 s"):
        late.clock()
    with pytest.raises(BoundError):
        for _ in range(600):
            late.step()
    with pytest.raises(LaterError):
        Budget(Bounds(), time.monotonic() - 1, light=True).clock()


def test_heavy_work_waits() -> None:
    budget().heavy()
    with pytest.raises(LaterError):
        Budget.of(Bounds(), light=True).heavy()
