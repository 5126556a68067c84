"""The tables on the terminal and in the documentation. The cells are plain words, so that tests read them too."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.goals import Goal
from bench.samples import RSPAMD_BASE, Row, base_of

LOAD_WORDS = {
    "a": "a: one 4 KiB message a connection, 50 connections",
    "b": "b: 100 messages of 4 KiB a connection, 50 connections",
    "c": "c: 1 MiB messages, 50 connections",
}
WAY_WORDS = {"held": "accepted only", "delivered": "accepted and delivered to the mailbox"}
COLUMNS = ("server", "accepted/s", "×", "in mailbox/s", "×", "CPU ms", "p50 ms", "p99 ms", "MB", "errors")


def cells(row: Row) -> list[str]:
    """One line of the main table, by COLUMNS; – stands for what was not measured."""
    figures = row.figures
    return [
        row.peer,
        f"{figures['rate']:,.0f}",
        _times(row.ratios.get("rate")),
        f"{figures['end_to_end']:,.0f}" if "end_to_end" in figures else "–",
        _times(row.ratios.get("end_to_end")),
        f"{figures['cpu']:.2f}",
        f"{figures['p50']:.1f}",
        f"{figures['p99']:.1f}",
        f"{figures['memory'] / 1e6:.0f}",
        f"{figures['errors']:.0f}",
    ]


def grouped(rows: list[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """The rows of each table, by workload, way, and what they are compared with."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.load, row.way, base_of(row.peer)), []).append(row)
    return groups


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}" if ratio is not None else "–"


def goal_cells(goal: Goal) -> list[str]:
    sign = "≥" if goal.least else "≤"
    got = "not measured" if goal.got is None else f"{goal.got:.2f}"
    met = {True: "yes", False: "no", None: "–"}[goal.met]
    return [goal.name, f"{sign} {goal.wanted:g} {goal.unit}", got, met]


def growth_cells(found: list[dict[str, float]], key: str) -> list[list[str]]:
    """Lines of (size, ms of CPU a mail, in the mailbox a second, MB), the cost also as a multiple of the first."""
    first = found[0]["cpu"] if found else 0.0
    return [
        [
            f"{one[key]:,.0f}",
            f"{one['cpu']:.2f}" + (f" (×{one['cpu'] / first:.2f})" if first else ""),
            f"{one['end_to_end']:,.0f}",
            f"{one['memory'] / 1e6:.0f}",
            f"{one['start_seconds']:.1f}" if "start_seconds" in one else "–",
        ]
        for one in found
    ]


def print_all(console: Console, results: dict[str, Any], rows: list[Row], goals: list[Goal]) -> None:
    for (load, way, base), group in grouped(rows).items():
        with_what = " · with Rspamd" if base == RSPAMD_BASE else ""
        _print(console, f"{LOAD_WORDS[load]} · {WAY_WORDS[way]}{with_what}", COLUMNS, [cells(row) for row in group])
    for row in rows:
        if row.first_error:
            console.print(f"{row.peer} {row.load} {row.way}: first error: {row.first_error}", markup=False)
    if results["syncs"]:
        lines = [
            [peer, way, f"{calls['all']:,.0f}", _others(calls), f"{calls['messages']:.0f}"]
            for peer, ways in results["syncs"].items()
            for way, calls in ways.items()
        ]
        columns = ("server", "way", "syncs", "calls seen", "messages counted")
        _print(console, "Syncs a thousand messages (load a under strace, so at a slower pace)", columns, lines)
    if results["crowd"]:
        lines = [
            [peer, kind, ", ".join(f"{key} {value:,.2f}".removesuffix(".00") for key, value in found.items())]
            for peer, kinds in results["crowd"].items()
            for kind, found in kinds.items()
        ]
        _print(console, "Idle and slow peers", ("server", "which", "found"), lines)
    for name, key in (("queue", "waiting"), ("directory", "domains")):
        if results["growth"].get(name):
            columns = (key, "CPU ms a mail", "in mailbox/s", "MB", "start s")
            _print(console, f"Growth: {name}", columns, growth_cells(results["growth"][name], key))
    _print(console, "Goals", ("goal", "wanted", "got", "met"), [goal_cells(goal) for goal in goals])
    for name, reason in results["skipped"].items():
        console.print(f"skipped: {name}: {reason}", markup=False)


def _others(calls: dict[str, float]) -> str:
    return (
        ", ".join(f"{name} {count:,.0f}" for name, count in calls.items() if name not in ("all", "messages")) or "none"
    )


def _print(console: Console, title: str, columns: tuple[str, ...], lines: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for at, name in enumerate(columns):
        table.add_column(name, justify="left" if at == 0 else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
