"""The tables of the benchmark, read as text."""

from __future__ import annotations

import io

from bench.goals import Goal
from bench.samples import Row
from bench.table import (
    COLUMNS,
    DOMAIN_COLUMNS,
    blocks,
    cells,
    domain_cells,
    goal_cells,
    growth_cells,
    markdown,
    print_all,
)
from rich.console import Console

FIGURES = {"rate": 4321.6, "cpu": 0.234, "p50": 8.04, "p99": 20.26, "memory": 118e6, "spread": 0.25, "errors": 2.0}


def test_a_line_has_a_cell_for_each_column() -> None:
    line = cells(Row("postane", "a", "delivered", 3, FIGURES | {"end_to_end": 987.0}, {"rate": 5.678, "end_to_end": 3}))
    assert len(line) == len(COLUMNS)
    assert line == ["postane", "4,322", "5.68", "987", "3.00", "0.23", "8.0", "20.3", "118", "25 %", "2"]


def test_what_was_not_measured_is_a_dash() -> None:
    line = cells(Row("postane", "a", "held", 1, FIGURES, {}))
    assert (line[2], line[3], line[4]) == ("–", "–", "–")


def test_goals_say_yes_no_or_nothing() -> None:
    assert goal_cells(Goal("a", 6, 6.1, "×")) == ["a", "≥ 6 ×", "6.10", "yes"]
    assert goal_cells(Goal("m", 150, 151.0, "MB", least=False)) == ["m", "≤ 150 MB", "151.00", "no"]
    assert goal_cells(Goal("a", 6, None, "×"))[2:] == ["not measured", "–"]


def test_growth_tells_the_cost_as_a_multiple_of_the_smallest() -> None:
    found = [
        {"waiting": 0, "cpu": 0.5, "end_to_end": 2000, "memory": 1e8, "start_seconds": 0.5},
        {"waiting": 10000, "cpu": 0.6, "end_to_end": 1900, "memory": 2e8, "start_seconds": 1.25},
    ]
    assert growth_cells(found, "waiting") == [
        ["0", "0.50 (×1.00)", "2,000", "100", "0.5"],
        ["10,000", "0.60 (×1.20)", "1,900", "200", "1.2"],
    ]
    assert growth_cells([], "waiting") == []


MANY: list[dict[str, float]] = [
    {
        "domains": 10,
        "plan": 1,
        "apply": 2,
        "again": 3.04,
        "changes": 0,
        "drift": 4,
        "far": 5,
        "questions": 19.5,
        "cpu": 50,
        "memory": 9e6,
    },
]


def test_many_domains_are_a_line_each() -> None:
    lines = domain_cells([*MANY, {**MANY[0], "domains": 1000, "cpu": 60}])
    assert lines[0] == ["10", "1.0", "2.0", "3.0", "0", "4.0", "5.0", "19.5", "50.0 (×1.00)", "9"]
    assert (lines[1][0], lines[1][8]) == ("1,000", "60.0 (×1.20)")
    assert len(lines[0]) == len(DOMAIN_COLUMNS)


RESULTS = {
    "domains": MANY,
    "syncs": {"postane": {"held": {"fdatasync": 40.0, "io_uring_enter": 9.0, "all": 40.0, "messages": 500.0}}},
    "crowd": {"postane": {"idle": {"opened": 10_000.0, "kib_each": 3.25}}},
    "growth": {"queue": [{"waiting": 0, "cpu": 0.5, "end_to_end": 2000, "memory": 1e8}]},
    "skipped": {"opensmtpd": "must be started by root"},
}
ROW = Row("postane", "a", "held", 1, FIGURES, {}, "451 [later]")
GOAL = Goal("a, accepted", 6, 7.0, "×")
WORDS = ("4,322", "50.0 (×1.00)", "fdatasync 40", "kib_each 3.25", "0.50 (×1.00)", "a, accepted", "451 [later]")


def test_all_that_was_found_and_all_that_was_left_out_is_printed() -> None:
    out = io.StringIO()
    print_all(Console(file=out, width=160), RESULTS, [ROW], [GOAL])
    for words in (*WORDS, "skipped: opensmtpd: must be started by root"):
        assert words in out.getvalue(), words


def test_the_documentation_gets_the_same_with_whole_lines() -> None:
    text = markdown(RESULTS, [ROW], [GOAL])
    for words in (*WORDS, "skipped: opensmtpd: must be started by root"):
        assert words in text, words
    for block in text.split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1, block


def test_servers_with_rspamd_have_a_table_of_their_own() -> None:
    rows = [ROW, Row("postane-rspamd", "a", "held", 1, FIGURES, {})]
    titles = [title for title, _, _ in blocks(RESULTS, rows, [GOAL])]
    assert titles[1] == f"{titles[0]} · with Rspamd"
