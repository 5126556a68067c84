"""Whether a list can be believed: its tests, its silence, and its death between two tests, on a clock of our own."""

from __future__ import annotations

from random import Random

import pytest

from postane.core.question import NO_SUCH_NAME, Answer
from postane.filters.blocklists.codes import Codes
from postane.filters.blocklists.health import BETWEEN_TESTS, Health, State, Trial, judge

LISTED = Answer(("127.0.0.2",))
DOWN = Answer(failed="SERVFAIL")
WELL = Trial()


def well() -> Health:
    health = Health(0)
    health.tested(WELL, 0)
    return health


@pytest.mark.parametrize(
    ("listed", "unlisted", "control", "words", "silent"),
    [
        (LISTED, NO_SUCH_NAME, NO_SUCH_NAME, "", False),
        (LISTED, Answer(), Answer(), "", False),
        (LISTED, LISTED, NO_SUCH_NAME, "lists everything", False),
        (LISTED, NO_SUCH_NAME, LISTED, "lists everything", False),
        (DOWN, LISTED, DOWN, "lists everything", False),
        (NO_SUCH_NAME, NO_SUCH_NAME, NO_SUCH_NAME, "does not list what it must", False),
        (Answer(("127.255.255.254",)), NO_SUCH_NAME, NO_SUCH_NAME, "does not talk to our resolver", False),
        (*[Answer(("127.255.255.254",))] * 3, "does not talk to our resolver", False),
        (*[Answer(("203.0.113.7",))] * 3, "answers 203.0.113.7", False),
        (Answer(("127.0.0.77",)), NO_SUCH_NAME, NO_SUCH_NAME, "none of the codes", False),
        (DOWN, NO_SUCH_NAME, NO_SUCH_NAME, "silent: SERVFAIL", True),
        (LISTED, NO_SUCH_NAME, DOWN, "silent: SERVFAIL", True),
    ],
)
def test_what_a_test_says(listed: Answer, unlisted: Answer, control: Answer, words: str, silent: bool) -> None:
    trial = judge(listed, unlisted, control, Codes({"127.0.0.2": 1}, 1))
    assert words in trial.problem
    assert (bool(trial.problem), trial.silent) == (bool(words), silent)


def test_aside_at_once_for_what_it_says_and_after_a_while_for_silence() -> None:
    health = Health(0)
    assert health.state is State.UNTESTED
    health.tested(Trial("is silent", silent=True), 1)
    assert (health.state, health.reason, health.since) == (State.ASIDE, "is silent", 1)
    health = Health(0)
    health.silent("is silent", 1)
    assert health.state is State.ASIDE  # nothing good was ever heard of it
    health = well()
    for now in (2, 3):
        health.silent("is silent", now)
    health.unlisted()
    for now in (4, 5):
        health.silent("is silent", now)
    assert health.reason == ""
    assert health.pause(0.5) == 15  # but looked at soon
    health.tested(Trial("is silent", silent=True), 6)
    assert health.state is State.ASIDE
    health = well()
    health.tested(Trial("lists everything"), 7)
    assert health.state is State.ASIDE
    health = well()
    for _ in range(3):
        health.unknown("127.0.0.77", 8)
    assert (health.state, "127.0.0.77" in health.reason) == (State.ASIDE, True)


def test_tests_grow_rare_while_it_is_aside_and_bring_it_back() -> None:
    health = well()
    assert [health.pause(chance) for chance in (0, 1)] == [BETWEEN_TESTS * 0.8, pytest.approx(BETWEEN_TESTS * 1.2)]
    pauses = []
    for now in range(8):
        health.set_aside("lists everything", now)
        pauses.append(health.pause(0.5))
    assert pauses == [15, 30, 60, 120, 240, 480, 600, 600]
    health.tested(Trial("is silent", silent=True), 8)
    assert health.pause(0.5) == 60
    assert health.since == 0
    health.tested(WELL, 100)
    assert (health.state, health.reason, health.since) == (State.WELL, "", 100)
    health.set_aside("lists everything", 200)
    assert health.pause(0.5) == 15


class World:
    """Mail comes, and the list is asked about it; it dies at some time and lists everybody from then on.

    `share` of the mail is truly listed. `believed` are the false hits that counted, `controls` all that were asked.
    """

    def __init__(self, share: float, between: float, seed: int, dies: float = 1e9) -> None:
        self.random = Random(seed)
        self.health = well()
        self.share, self.between, self.dies = share, between, dies
        self.believed: list[float] = []
        self.hits = self.controls = 0

    def run(self, until: float) -> None:
        now = 0.0
        while (now := now + self.random.expovariate(1 / self.between)) < until and self.health.state is State.WELL:
            true = self.random.random() < self.share
            if not (true or now >= self.dies):
                self.health.unlisted()
                continue
            self.health.hit()
            self.hits += 1
            if self.health.needs_control(now):
                self.controls += 1
                if now >= self.dies:
                    self.health.set_aside("lists everything", now)
                    continue
                self.health.controlled()
            if not true:
                self.believed.append(now)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 0.97])
@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_host_never_believes_a_list_that_lists_everybody(share: float, seed: int) -> None:
    world = World(share, between=5, seed=seed, dies=4000)
    world.run(5000)
    assert world.health.state is State.ASIDE
    assert world.believed == []


@pytest.mark.parametrize("share", [0.2, 0.8, 0.97])
@pytest.mark.parametrize("seed", range(5))
def test_a_busy_one_for_two_seconds_at_most_and_asks_few_controls(share: float, seed: int) -> None:
    world = World(share, between=0.01, seed=seed, dies=200)
    world.run(300)
    assert world.health.state is State.ASIDE
    assert world.health.since < 202
    assert all(200 <= now < 202 for now in world.believed)
    assert world.controls < 30 + 2 * 200 < world.hits / 5
    if share < 0.5:  # many hits where there were few are seen sooner
        assert len(world.believed) <= 10


def test_a_list_that_is_well_stays_so() -> None:
    world = World(0.9, between=1, seed=1)
    world.run(20_000)
    assert world.health.state is State.WELL
