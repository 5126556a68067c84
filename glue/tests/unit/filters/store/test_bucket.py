"""The arithmetic of a bucket."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.ports import Charge
from postane.filters.store.bucket import spend

NOW = 1_700_000_000.0


def test_a_full_bucket_gives_its_burst_at_once_and_then_by_its_rate() -> None:
    full_at = 0.0
    for _ in range(5):
        wait, full_at = spend(full_at, NOW, Charge("k", 1, 0.5, 5))
        assert wait == 0.0
    wait, _ = spend(full_at, NOW, Charge("k", 1, 0.5, 5))
    assert wait == pytest.approx(2.0)
    assert spend(full_at, NOW + 1.9, Charge("k", 1, 0.5, 5))[0] == pytest.approx(0.1)
    assert spend(full_at, NOW + 2, Charge("k", 1, 0.5, 5))[0] == 0.0


def test_what_is_more_than_the_bucket_is_never_granted() -> None:
    assert spend(0.0, NOW, Charge("k", 6, 1, 5))[0] == math.inf
    assert spend(0.0, NOW, Charge("k", 0, 1, 5, need=6))[0] == math.inf


def test_what_is_needed_may_be_more_than_what_is_taken() -> None:
    _, full_at = spend(0.0, NOW, Charge("k", 5, 1, 5))
    assert spend(full_at, NOW, Charge("k", 0, 1, 5))[0] == 0.0
    wait, after = spend(full_at, NOW, Charge("k", 0, 1, 5, need=2))
    assert wait == pytest.approx(2)
    assert after == full_at


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    _, full_at = spend(0.0, NOW + 86_400, Charge("k", 5, 1, 5))
    assert spend(full_at, NOW, Charge("k", 1, 1, 5))[0] == pytest.approx(1)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.01, 20)), max_size=60), st.floats(0.01, 50), st.floats(1, 100))
def test_no_more_is_granted_than_burst_and_rate_allow(
    asked: list[tuple[float, float]], rate: float, burst: float
) -> None:
    now, full_at, granted = NOW, 0.0, 0.0
    for pause, cost in asked:
        now += pause
        wait, after = spend(full_at, now, Charge("k", cost, rate, burst))
        if wait == 0.0:
            full_at, granted = after, granted + cost
        elif wait < math.inf:
            assert spend(full_at, now + wait, Charge("k", cost, rate, burst))[0] == 0.0
        assert granted <= burst + rate * (now - NOW) + 0.001 * rate + 0.001
