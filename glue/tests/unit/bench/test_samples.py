"""Medians and ratios of the benchmark."""

from __future__ import annotations

import pytest
from bench.samples import Sample, asks_others, spread, summed_up


def _sample(peer: str, rate: float, *, way: str = "held", load: str = "a", **more: float) -> Sample:
    return Sample(peer, load, way, {"rate": rate, "errors": 0.0, **more})


def test_a_row_has_the_median_of_its_rounds_and_its_ratio_to_tuned_postfix() -> None:
    rows = summed_up(
        [
            _sample("postane", 300),
            _sample("postfix-tuned", 100),
            _sample("postane", 900),
            _sample("postfix-tuned", 200),
            _sample("postane", 600),
            _sample("postfix-tuned", 150),
        ]
    )
    assert [(row.peer, row.rounds, row.figures["rate"]) for row in rows] == [
        ("postane", 3, 600.0),
        ("postfix-tuned", 3, 150.0),
    ]
    assert rows[0].ratios == {"rate": 4.0}
    assert rows[1].ratios == {"rate": 1.0}


def test_a_ratio_is_only_made_within_one_workload_and_way() -> None:
    rows = summed_up([_sample("postane", 300, load="a"), _sample("postfix-tuned", 100, load="b")])
    assert rows[0].ratios == {}
    rows = summed_up([_sample("postane", 300, way="held"), _sample("postfix-tuned", 100, way="delivered")])
    assert rows[0].ratios == {}


def test_end_to_end_has_a_ratio_of_its_own() -> None:
    rows = summed_up(
        [
            _sample("postane", 300, way="delivered", end_to_end=90),
            _sample("postfix-tuned", 100, way="delivered", end_to_end=60),
        ]
    )
    assert rows[0].ratios == {"rate": 3.0, "end_to_end": 1.5}


def test_an_error_in_one_round_is_not_flattened_away_by_the_median() -> None:
    bad = Sample("postane", "a", "held", {"rate": 1.0, "errors": 7.0}, "451 later")
    row = summed_up([_sample("postane", 1), bad, _sample("postane", 1)])[0]
    assert row.figures["errors"] == 7.0
    assert row.first_error == "451 later"


def test_nothing_accepted_gives_no_ratio() -> None:
    rows = summed_up([_sample("postane", 0), _sample("postfix-tuned", 100)])
    assert rows[0].ratios == {}


@pytest.mark.parametrize(("values", "wanted"), [([], 0.0), ([5.0], 0.0), ([1.0, 2.0, 4.0], 1.5), ([0.0, 0.0], 0.0)])
def test_spread(values: list[float], wanted: float) -> None:
    assert spread(values) == wanted


def test_servers_with_rspamd_are_compared_among_themselves() -> None:
    rows = summed_up([_sample("postane-rspamd", 300), _sample("postfix-rspamd", 100), _sample("postfix-tuned", 1000)])
    assert rows[0].ratios == {"rate": 3.0}
    rows = summed_up([_sample("postane-rspamd", 300), _sample("postfix-tuned", 1000)])
    assert rows[0].ratios == {}


def test_servers_with_all_checks_are_compared_among_themselves() -> None:
    rows = summed_up([_sample("postane-filters", 300), _sample("postfix-filters", 100), _sample("postfix-tuned", 1000)])
    assert rows[0].ratios == {"rate": 3.0}
    assert asks_others("postane-filters")
    assert asks_others("postfix-rspamd")
    assert not asks_others("postane-builtin")
