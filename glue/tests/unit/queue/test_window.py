from __future__ import annotations

from postane.core.outcome import Outcome
from postane.core.reply import Reply
from postane.queue.window import FIRST, Window

WHY = Outcome.from_reply("a@b.test", Reply(451, "4.4.1", "refused"))


def test_grows_with_success_to_its_most() -> None:
    window = Window("b.test", 4)
    assert window.limit == FIRST
    for _ in range(10):
        window.succeeded()
    assert window.limit == 4


def test_local_starts_wide() -> None:
    assert Window("local", 20, local=True).limit == 20


def test_busy_halves_and_never_stops() -> None:
    window = Window("b.test", 8)
    window.limit = 8
    for wanted in (4, 2, 1, 1):
        window.busy()
        assert window.limit == wanted
    assert window.is_open(0)


def test_unreachable_closes_until_a_trial_and_counts_one_break_once() -> None:
    window = Window("b.test", 8)
    window.unreachable(100, 30, WHY)
    window.unreachable(101, 500, WHY)  # was under way when it broke
    assert window.failures == 1
    assert not window.is_open(129)
    assert window.is_open(130)
    assert window.limit == 1
    window.unreachable(130, 60, WHY)
    assert window.failures == 2
    window.succeeded()
    assert window.is_open(131)
    assert window.failures == 0


def test_new_mail_hurries_the_trial_but_not_beyond_the_first_wait() -> None:
    window = Window("b.test", 8)
    window.unreachable(100, 9000, WHY)
    window.hurry(300)
    assert not window.is_open(399)
    assert window.is_open(400)
    window.reopen()
    assert window.is_open(0)


def test_pause_closes_for_a_while_and_ends_with_a_success() -> None:
    window = Window("b.test", 8)
    window.limit = 8
    window.paused(100, 60, WHY)
    window.paused(101, 60, WHY)  # was under way
    assert (window.limit, window.pauses, window.failures) == (2, 1, 0)
    assert not window.is_open(159)
    assert window.is_open(160)
    window.paused(160, 108, WHY)
    assert window.pauses == 2
    window.succeeded()
    assert (window.limit, window.pauses) == (2, 0)
    assert window.is_open(161)
