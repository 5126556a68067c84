"""Which limits hold for whom, what they cost, and what is said."""

from __future__ import annotations

import pytest

from postane.filters.pace.budget import Budget, Due, Limit, check, duration, words

HOURLY = Limit(counts="recipients", rate=100)
DAILY = Limit(counts="recipients", rate=500, seconds=86_400, burst=50)
LIMITS = {"account": (HOURLY, DAILY), "tenant": (Limit(counts="octets", rate=1000),), "peer": ()}


def test_what_holds() -> None:
    who = {"account": "a@x.test", "tenant": "", "peer": "192.0.2.1", "net": "192.0.2.0/24"}
    found = Budget(LIMITS).due(who, "recipients")
    assert [(one.limit, one.who) for one in found] == [(HOURLY, "a@x.test"), (DAILY, "a@x.test")]
    assert [(one.charge.cost, one.charge.rate, one.charge.burst) for one in found] == [
        (1, 100 / 3600, 100),
        (1, 500 / 86_400, 50),
    ]
    assert len({one.charge.key for one in found}) == 2
    assert Budget(LIMITS).due(who, "octets") == []
    assert Budget(LIMITS).due({"tenant": "t"}, "octets", 5000)[0].charge.cost == 1000  # all there is, and not more


def test_buckets_are_apart() -> None:
    limits = {"account": (HOURLY, DAILY), "peer": (HOURLY,)}
    keys = {
        one.charge.key
        for space in ("a", "b")
        for name in ("a@x.test", "b@x.test")
        for one in Budget(limits, space).due({"account": name, "peer": name}, "recipients")
    }
    assert len(keys) == 8  # two limits of two accounts; one limit of two peers, by each of the options
    assert not any("x.test" in key for key in keys)


def test_a_look_takes_nothing() -> None:
    (one, _) = Budget(LIMITS).due({"account": "a@x.test"}, "recipients", look=True)
    assert (one.charge.cost, one.charge.need) == (0, 1)
    (same, _) = Budget(LIMITS).due({"account": "a@x.test"}, "recipients")
    assert same.charge.key == one.charge.key


def test_what_cannot_be_counted() -> None:
    check(LIMITS)
    with pytest.raises(ValueError, match="account: connections cannot be counted; messages, recipients, octets can"):
        check({"account": [Limit(counts="connections", rate=1)]})
    with pytest.raises(ValueError, match="recipient_domain"):
        check({"recipient_domain": [Limit(counts="octets", rate=1)]})


@pytest.mark.parametrize(
    ("whose", "who", "said"),
    [
        ("peer", "192.0.2.1", "Too many unknown recipients from 192.0.2.1; try again in 90 seconds"),
        ("net", "192.0.2.0/24", "Too many unknown recipients from the network 192.0.2.0/24; try again in 90 seconds"),
        ("sender", "a@x.test", "Too many unknown recipients from this sender address; try again in 90 seconds"),
        ("recipient_domain", "x.test", "Too many unknown recipients in x.test; try again in 90 seconds"),
        (
            "account",
            "a@x.test",
            "The limit of your account is reached: 60 unknown recipients in 60 minutes; try again in 90 seconds",
        ),
    ],
)
def test_words(whose: str, who: str, said: str) -> None:
    limit = Limit(counts="unknown_recipients", rate=60)
    (charge,) = Budget({"peer": [limit]}).due({"peer": "x"}, "unknown_recipients")
    assert words(Due(limit, whose, who, charge.charge), 90) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (1, "1 second"),
        (61.5, "62 seconds"),
        (120, "2 minutes"),
        (3600, "60 minutes"),
        (7201, "3 hours"),
        (86_400, "24 hours"),
        (200_000, "3 days"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
