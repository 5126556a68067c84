"""What a list's answers mean, and what is no code."""

from __future__ import annotations

import pytest

from postane.filters.blocklists.codes import Codes, Reading


def test_any_code_has_the_lists_weight_where_none_is_given() -> None:
    codes = Codes({}, 3)
    assert codes.read(["127.0.0.2"]) == Reading(3, ("127.0.0.2",))
    assert codes.read(["127.0.0.10", "127.0.0.4"]) == Reading(3, ("127.0.0.10", "127.0.0.4"))
    assert codes.read([]) == Reading()
    assert codes.most == 3
    assert Codes({"127.0.0.2": 1, "127.0.0.3": -4}, 9).most == 4


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("127.0.0.2", ["127.0.0.2"], ["127.0.0.3", "127.0.1.2"]),
        ("127.0.0.4-7", ["127.0.0.4", "127.0.0.7"], ["127.0.0.3", "127.0.0.8"]),
        ("127.0.2-20.3", ["127.0.2.3", "127.0.20.3"], ["127.0.21.3", "127.0.2.2"]),
        ("127.0.*.1", ["127.0.0.1", "127.0.255.1"], ["127.0.0.2"]),
        ("127.0.0.&8", ["127.0.0.8", "127.0.0.12", "127.0.0.255"], ["127.0.0.4", "127.0.0.16"]),
    ],
)
def test_patterns(pattern: str, fits: list[str], others: list[str]) -> None:
    codes = Codes({pattern: 2}, 9)
    for answer in fits:
        assert codes.read([answer]) == Reading(2, (answer,))
    for answer in others:
        assert codes.read([answer]) == Reading(0, (), (answer,))


def test_the_strongest_code_counts() -> None:
    codes = Codes({"127.0.0.2": 1, "127.0.0.4-7": 4, "127.0.0.6": 2, "127.0.0.9": 0}, 9)
    assert codes.read(["127.0.0.2", "127.0.0.6"]).weight == 4
    assert codes.read(["127.0.0.9"]) == Reading(0, ("127.0.0.9",))
    assert codes.read(["127.0.0.9", "127.0.0.99"]) == Reading(0, ("127.0.0.9",), ("127.0.0.99",))


@pytest.mark.parametrize("answer", ["127.255.255.254", "127.255.255.1", "192.0.2.1", "0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize("weights", [{}, {"127.0.0.2": 1.0}])
def test_answers_of_a_list_that_is_none_any_more(answer: str, weights: dict[str, float]) -> None:
    reading = Codes(weights, 5).read(["127.0.0.2", answer])
    assert answer in reading.fault
    assert (reading.weight, reading.codes) == (0, ())


@pytest.mark.parametrize(
    "text", ["", "127.0.0", "127.0.0.256", "127.0.0.7-4", "127.0.0.x", "127.0.0.&999", "127.0.0.2.3", "127.0.0.-4"]
)
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(ValueError, match="no code"):
        Codes({text: 1}, 1)
