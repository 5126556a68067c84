"""The host's key changes: hour by hour, and never a moment in which a server with an old set finds no key of it."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from postane.domains.rollover import SPREAD, Announced, Keys, decide, tlsa_of

TTL = 3600
OLD, NEW = "3 1 1 " + "aa" * 32, "3 1 1 " + "bb" * 32
T = 1_700_000_000.0


def records(keys: Keys, announced: list[Announced], now: float, ttl: int = TTL) -> set[str]:
    return {data for data, _ in decide(keys, announced, ttl, now).records}


def test_a_key_that_stays_keeps_its_record() -> None:
    for since in (T, T + 60 * 86_400):  # renewed with the same key
        found = decide(Keys(OLD, since), [Announced(OLD, T - 9e6, TTL)], TTL, since)
        assert [data for data, _ in found.records] == [OLD]
        assert not found.may_switch


def test_a_change_of_key_from_its_announcement_to_its_end() -> None:
    announced = [Announced(OLD, T - 9e6, TTL)]
    keys = Keys(OLD, T - 9e6, NEW)
    first = decide(keys, announced, TTL, T)
    assert {data for data, _ in first.records} == {OLD, NEW}
    assert (first.may_switch, first.at) == (False, 0.0)
    assert "not announced yet" in first.why

    announced.append(Announced(NEW, T, TTL))
    soon = decide(keys, announced, TTL, T + 60)
    assert (soon.may_switch, soon.at) == (False, T + SPREAD * TTL)
    assert "119 min more" in soon.why
    assert not decide(keys, announced, TTL, T + SPREAD * TTL - 1).may_switch
    ready = decide(keys, announced, TTL, T + SPREAD * TTL)
    assert ready.may_switch
    assert {data for data, _ in ready.records} == {OLD, NEW}

    switched = T + 3 * TTL
    keys = Keys(NEW, switched)
    assert records(keys, announced, switched) == {OLD, NEW}
    assert records(keys, announced, switched + TTL - 1) == {OLD, NEW}
    assert records(keys, announced, switched + TTL) == {NEW}
    assert not decide(keys, announced, TTL, switched).may_switch


def test_a_ttl_that_was_longer_is_waited_for() -> None:
    announced = [Announced(OLD, T, 86_400), Announced(NEW, T, TTL)]
    keys = Keys(OLD, T, NEW)
    assert not decide(keys, announced, TTL, T + SPREAD * TTL).may_switch
    assert decide(keys, announced, TTL, T + SPREAD * 86_400).may_switch


def test_a_certificate_that_cannot_be_read_changes_nothing() -> None:
    announced = [Announced(OLD, T, TTL), Announced(NEW, T, TTL)]
    found = decide(Keys("", 0.0, NEW), announced, TTL, T + 9e6)
    assert {data for data, _ in found.records} == {OLD, NEW}
    assert not found.may_switch
    assert decide(Keys(), [], TTL, T).records == ()


def test_a_next_key_that_is_the_present_one_is_none() -> None:
    found = decide(Keys(OLD, T, OLD), [Announced(OLD, T, TTL)], TTL, T + 9e6)
    assert [data for data, _ in found.records] == [OLD]
    assert not found.may_switch


def test_the_data_is_of_the_public_key() -> None:
    assert tlsa_of(b"spki") == f"3 1 1 {hashlib.sha256(b'spki').hexdigest()}"


@given(
    ttl=st.integers(60, 86_400),
    waits=st.lists(st.integers(1, 200_000), min_size=1, max_size=40),
    delay=st.integers(0, 86_400),
)
def test_whoever_remembers_a_set_finds_the_key_that_serves_in_it(ttl: int, waits: list[int], delay: int) -> None:
    """The zone's servers follow the plan by up to a TTL; caches remember what they had for a TTL more."""
    now, number = T, 0
    keys = Keys("3 1 1 00", T - 9e6)
    announced = [Announced(keys.serves, T - 9e6, ttl)]
    history: list[tuple[float, frozenset[str]]] = [(T - 9e6, frozenset([keys.serves]))]
    lag = min(delay, ttl)
    for wait in waits:
        now += wait
        if not keys.follows:
            number += 1
            keys = Keys(keys.serves, keys.since, f"3 1 1 {number:02x}")
        found = decide(keys, announced, ttl, now)
        if found.may_switch:
            keys = Keys(keys.follows, now)
            found = decide(keys, announced, ttl, now)
        wanted = frozenset(data for data, _ in found.records)
        kept = [one for one in announced if one.data in wanted]
        announced = [*kept, *(Announced(data, now, ttl) for data in wanted - {one.data for one in kept})]
        history.append((now, wanted))
        # What any server may still say, or any cache may still hold.
        for at, (made, standing) in enumerate(history):
            ended = history[at + 1][0] if at + 1 < len(history) else now
            if ended + lag + ttl > now or at + 1 == len(history):
                assert keys.serves in standing or made == now
