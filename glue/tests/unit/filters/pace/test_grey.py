"""What is remembered, what of a sender lasts, and which names are nobody's."""

from __future__ import annotations

import pytest

from postane.filters.pace.grey import Known, Seen, is_generic, key, lasting, remaining

NOW = 1_700_000_000.0


def test_what_is_remembered_is_read_again() -> None:
    for seen in (Seen(NOW, NOW + 5), Seen(NOW, NOW + 5, True)):
        assert Seen.read(str(seen)) == seen
    assert Known.read(str(Known(3, NOW))) == Known(3, NOW)


@pytest.mark.parametrize("rubbish", [None, "", "x", "1 2", "a b c", "1 2 3 4"])
def test_rubbish_is_nothing(rubbish: str | None) -> None:
    assert Seen.read(rubbish) is None
    assert Known.read("x y") is None


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (None, 60),
        (Seen(NOW, NOW), 60),
        (Seen(NOW - 20, NOW), 40),
        (Seen(NOW - 60, NOW), 0),
        (Seen(NOW - 600, NOW), 0),
        (Seen(NOW, NOW, True), 0),
        (Seen(NOW + 86_400, NOW), 60),  # the clock was set back
    ],
)
def test_how_long_one_waits(seen: Seen | None, left: float) -> None:
    assert remaining(seen, NOW, 60) == left


def test_passes_that_come_together_are_one() -> None:
    known = Known(1, NOW)
    assert known.again(NOW + 59, 60) == Known(1, NOW + 59)
    assert known.again(NOW + 60, 60) == Known(2, NOW + 60)
    assert known.again(NOW - 5, 60) == Known(2, NOW - 5)  # the clock was set back


def test_keys_hide_what_they_are_of() -> None:
    assert key("a", "bc") != key("ab", "c")
    assert "ayse" not in key("ayse@demo.test")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ayse", "ayse+tag"),
        ("prvs=1234abcdef=ayse", "prvs=99fe01abcd=ayse"),
        ("SRS0=HHH=TT=a.test=ayse", "srs0=XYZ=AB=b.test=can"),
        ("bounce-1234-ayse=demo.test", "bounce-99-can=other.test"),
        ("news-20240101.7f3a", "news-20250808.11b2"),
    ],
)
def test_what_of_a_sender_lasts(one: str, other: str) -> None:
    assert lasting(one) == lasting(other)


def test_people_stay_apart() -> None:
    assert len({lasting(name) for name in ("ayse", "mehmet", "info", "+", "=", "")}) == 6


@pytest.mark.parametrize(
    ("name", "generic"),
    [
        ("host-192-0-2-45.isp.test", True),
        ("45.2.0.192.pool.isp.test", True),
        ("static.45.2.0.192.clients.isp.test", True),
        ("c000022d.isp.test", True),
        ("45-2-0.isp.test", True),
        ("dsl-000-002-045.isp.test", True),
        ("mx45.isp.test", False),
        ("mail2-45.isp.test", False),
        ("mail.demo.test", False),
        ("", False),
    ],
)
def test_generic_names(name: str, generic: bool) -> None:
    assert is_generic(name, "192.0.2.45") is generic
    assert is_generic(name, "::ffff:192.0.2.45") is generic
    assert not is_generic(name, "2001:db8::1")
