"""The schedule of certificates, tried on a clock of the test's own: months in a moment."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from postane.tls.schedule import (
    DAY,
    HOUR,
    JITTER,
    SHARE,
    Limits,
    Reason,
    Standing,
    Turn,
    Urgency,
    Window,
    due_at,
    judge,
    next_advice,
    next_look,
    queue,
    rest_until,
    retry_at,
)

NOW = 1_800_000_000.0
LIFE = 90 * DAY
FREE = Limits(1000, HOUR)


def made(name: str = "a.test", at: float = NOW, life: float = LIFE) -> Standing:
    return Standing(name, at, at + life)


def test_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over_or_a_little_sooner() -> None:
    shares = [(due_at(made(f"d{number}.test")) - NOW) / LIFE for number in range(500)]
    assert min(shares) >= SHARE - JITTER
    assert max(shares) <= SHARE
    # Those made in one hour do not come back in one hour: they are spread over four days and a half.
    hours = Counter(int(share * LIFE / HOUR) for share in shares)
    assert max(hours.values()) < 20
    assert len(hours) > 90


def test_the_same_certificate_is_always_due_at_the_same_time() -> None:
    assert due_at(made()) == due_at(made())
    assert due_at(made()) != due_at(made(at=NOW + 60)) - 60


@pytest.mark.parametrize(
    ("after", "reason", "urgency"),
    [
        (10 * DAY, Reason.GOOD, Urgency.DUE),
        (61 * DAY, Reason.DUE, Urgency.DUE),
        (81 * DAY, Reason.PRESSING, Urgency.PRESSING),
        (90 * DAY, Reason.ENDED, Urgency.PRESSING),
        (400 * DAY, Reason.ENDED, Urgency.PRESSING),
    ],
)
def test_what_is_to_be_done_at_each_age(after: float, reason: Reason, urgency: Urgency) -> None:
    turn = judge(made(), NOW + after)
    assert (turn.reason, turn.urgency) == (reason, urgency)


def test_one_that_is_missing_and_one_that_lacks_a_name_are_asked_for_at_once() -> None:
    assert judge(Standing("a.test"), NOW).reason is Reason.MISSING
    assert judge(replace(made(), more=True), NOW + DAY) == Turn("a.test", Reason.NAMES, NOW + DAY, Urgency.NAMES)


def test_the_authority_advises_a_window_and_is_followed() -> None:
    """RFC 9773 section 4.2: a time within the window, at once where it is past."""
    window = Window(NOW + 5 * DAY, NOW + 6 * DAY)
    times = [due_at(replace(made(f"d{number}.test"), advice=window)) for number in range(200)]
    assert all(window.start <= at <= window.end for at in times)
    assert max(times) - min(times) > 0.9 * DAY
    past = replace(made(), advice=Window(NOW - 2 * DAY, NOW - DAY))
    assert judge(past, NOW).reason is Reason.ADVISED


@pytest.mark.parametrize(
    "window", [Window(NOW + 6 * DAY, NOW + 5 * DAY), Window(NOW + 100 * DAY, NOW + 110 * DAY)], ids=["inverted", "late"]
)
def test_advice_that_makes_no_sense_is_not_followed(window: Window) -> None:
    assert due_at(replace(made(), advice=window)) == due_at(made())


def test_advice_never_leads_behind_the_end() -> None:
    window = Window(NOW + 89 * DAY, NOW + 200 * DAY)
    assert all(due_at(replace(made(f"d{number}.test"), advice=window)) <= NOW + LIFE for number in range(50))


def test_waits_grow_after_each_failure_up_to_a_day_and_are_shorter_where_the_end_is_near() -> None:
    waits = [retry_at("a.test", failures, NOW) - NOW for failures in range(1, 12)]
    for number, wait in enumerate(waits):
        right = min(HOUR * 2**number, DAY)
        assert 0.9 * right <= wait <= 1.1 * right
    assert retry_at("a.test", 40, NOW, pressing=True) - NOW <= 6 * HOUR * 1.1
    assert retry_at("a.test", 10_000, NOW) - NOW <= DAY * 1.1


def test_what_the_authority_says_of_waiting_holds_as_far_as_it_is_sane() -> None:
    assert retry_at("a.test", 1, NOW, asked_to_wait=NOW + 3 * DAY) == NOW + 3 * DAY
    assert retry_at("a.test", 1, NOW, asked_to_wait=NOW + 3000 * DAY) == NOW + 7 * DAY
    assert rest_until(1, NOW) == NOW + 600
    assert rest_until(1, NOW, 3 * HOUR) == NOW + 3 * HOUR
    assert rest_until(50, NOW, 1e12) == NOW + 7 * DAY
    assert next_advice(NOW, 0) == NOW + 60
    assert next_advice(NOW, float("inf")) == NOW + DAY
    assert next_look(0, NOW, held=False) == NOW + HOUR
    assert next_look(500, NOW, held=False) == NOW + DAY


def test_who_has_failed_is_held_back_until_his_time_unless_somebody_asks() -> None:
    failed = replace(made(), failures=3, retry_at=NOW + 62 * DAY)
    turn = judge(failed, NOW + 61 * DAY)
    assert (turn.reason, turn.at, turn.held) == (Reason.DUE, NOW + 62 * DAY, "after 3 failures")
    assert judge(failed, NOW + 62 * DAY).at == NOW + 62 * DAY
    assert judge(failed, NOW + 61 * DAY, asked=True).at == NOW + 61 * DAY


def test_a_clock_that_was_years_ahead_holds_nothing_back_for_years() -> None:
    failed = replace(made(), failures=1, retry_at=NOW + 3650 * DAY)
    assert judge(failed, NOW + 61 * DAY).at <= NOW + 62 * DAY
    ordered = [NOW + 3650 * DAY] * 10
    [turn] = queue([judge(Standing("a.test"), NOW)], NOW, ordered, Limits(10, HOUR))
    assert turn.at == NOW


def test_a_clock_that_went_back_asks_for_nothing() -> None:
    assert judge(made(), NOW - 3650 * DAY).reason is Reason.GOOD


def test_the_most_urgent_go_first_and_the_others_when_there_is_room() -> None:
    now = NOW + 85 * DAY
    turns = [
        judge(made("due.test", NOW + 20 * DAY), now),
        judge(Standing("new.test"), now),
        judge(replace(made("names.test", now - DAY), more=True), now),
        judge(made("end.test"), now),
        judge(made("good.test", now - DAY), now),
    ]
    found = queue(turns, now, [now - 600], Limits(3, HOUR))
    assert [one.name for one in found] == ["end.test", "new.test", "names.test", "due.test"]
    assert [one.at <= now for one in found] == [True, True, False, False]
    assert {one.at for one in found[2:]} == {now - 600 + HOUR}
    assert found[2].held == "3 orders in 1 h are enough"


def test_orders_within_the_window_count_and_older_ones_do_not() -> None:
    ordered = [NOW - 2 * HOUR, NOW - 30, NOW - 20]
    found = queue([judge(Standing(f"{name}.test"), NOW) for name in "abc"], NOW, ordered, Limits(4, HOUR))
    assert [one.at <= NOW for one in found] == [True, True, False]
    assert found[2].at == NOW - 30 + HOUR


def test_months_of_many_domains_with_an_authority_that_is_away_for_a_week() -> None:
    """Each is renewed in time, no window holds more orders than it may, and an outage costs few tries and no end."""
    chance = random.Random(7)
    limits = Limits(7, 3 * HOUR)
    standings = {f"d{number}.test": Standing(f"d{number}.test") for number in range(100)}
    ordered: list[float] = []
    tries = Counter[str]()
    outage = (NOW + 57 * DAY, NOW + 64 * DAY)
    first_days = 0
    resting, failures = 0.0, 0
    now = NOW
    while now < NOW + 130 * DAY:
        now += HOUR + chance.uniform(0, 900)
        if now < resting:
            continue
        for turn in queue([judge(one, now) for one in standings.values()], now, ordered, limits):
            if turn.at > now:
                continue
            if outage[0] < now < outage[1]:
                failures += 1
                tries[turn.name] += 1
                resting = rest_until(failures, now)
                break  # the others are not tried
            failures = 0
            ordered.append(now)
            one = standings[turn.name]
            if one.not_after:
                assert one.left(now) > 0.2, f"{turn.name} was renewed too late"
            standings[turn.name] = made(turn.name, now)
        recent = [at for at in ordered if at > now - limits.window]
        assert len(recent) <= limits.orders
        if now < NOW + 3 * DAY:
            first_days = len(ordered)
    assert first_days == 100  # all had one within three days: 7 in three hours
    assert 0 < sum(tries.values()) < 7 * 24
    # About one in 60 days each: nothing is asked for again and again.
    assert 100 * 3 <= len(ordered) < 100 * 3 + 50
