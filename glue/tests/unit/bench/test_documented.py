"""docs/bench.md shows the settings that Postfix really runs under, and takes the figures of a run between its marks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.peers.postfix import SHIPPED, TUNED
from bench.report import as_json, with_figures
from bench.run import FULL, NORMAL, PEERS

PAGE = (Path(__file__).parents[4] / "docs" / "bench.md").read_text("utf-8")


@pytest.mark.parametrize(("key", "value"), sorted(TUNED.items()))
def test_each_setting_of_postfix_is_shown(key: str, value: str) -> None:
    assert f"    {key} = {value}\n" in PAGE


def test_shipped_settings_stand_before_the_tuned_ones() -> None:
    shipped = PAGE[PAGE.index("**Postfix as shipped**") : PAGE.index("**Postfix tuned**")]
    assert shipped.count(" = ") == len(SHIPPED)


def test_sizes_are_told_as_they_are() -> None:
    assert f"five rounds of {FULL.seconds:.0f} s" in PAGE
    assert FULL.rounds == 5
    assert f"{NORMAL.idle:,} sessions after EHLO" in PAGE
    assert f"{NORMAL.idle_tls:,} after STARTTLS" in PAGE
    assert f"FULL: {FULL.queue[-1]:,}" in PAGE
    assert f"FULL: {FULL.domains[-1]:,}" in PAGE


def test_each_kind_of_peer_is_told_of() -> None:
    for name in PEERS:
        assert name.partition("-")[0] in PAGE.lower(), name


def test_figures_take_the_place_of_older_ones() -> None:
    once = with_figures(PAGE, "| old |")
    twice = with_figures(once, "| new |")
    assert "| old |" in once
    assert "| old |" not in twice
    assert with_figures(twice, "| old |") == once


def test_results_are_json_with_a_line_for_each_entry() -> None:
    results = {"at": "now", "rows": [{"a": 1}, {"a": "ü"}], "skipped": {"x": 'with "quotes"'}, "none": []}
    text = as_json(results)
    assert json.loads(text) == results
    assert '  {"a": "ü"}' in text.splitlines()
