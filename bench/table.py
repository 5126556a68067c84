"""The tables on the terminal and in the documentation. The cells are plain words, so that tests read them too."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from bench.goals import Goal
from bench.samples import FILTERS_BASE, RSPAMD_BASE, Row, base_of

LOAD_WORDS = {
    "a": "a: one 4 KiB message a connection, 50 connections",
    "b": "b: 100 messages of 4 KiB a connection, 50 connections",
    "c": "c: 1 MiB messages, 50 connections",
}
WAY_WORDS = {"held": "accepted only", "delivered": "accepted and delivered to the mailbox"}
COLUMNS = ("server", "accepted/s", "×", "in mailbox/s", "×", "CPU ms", "p50 ms", "p99 ms", "MB", "spread", "errors")


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
        f"{100 * figures['spread']:.0f} %" if row.rounds > 1 else "–",
        f"{figures['errors']:.0f}",
    ]


def grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each table by its title: by workload, way, and what they are compared with."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        with_what = {RSPAMD_BASE: " · with Rspamd", FILTERS_BASE: " · with all checks"}.get(base_of(row.peer), "")
        groups.setdefault(f"{LOAD_WORDS[row.load]} · {WAY_WORDS[row.way]}{with_what}", []).append(row)
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


DOMAIN_COLUMNS = (
    "domains",
    "plan s",
    "apply s",
    "plan again s",
    "changes",
    "drift s",
    "drift, each record asked s",
    "questions a domain",
    "CPU ms a domain",
    "Knot MB",
)


def domain_cells(found: list[dict[str, float]]) -> list[list[str]]:
    """Lines of DOMAIN_COLUMNS, the processor's time also as a multiple of the first."""
    first = found[0]["cpu"] if found else 0.0
    return [
        [
            f"{one['domains']:,.0f}",
            *(f"{one[key]:.1f}" for key in ("plan", "apply", "again")),
            f"{one['changes']:.0f}",
            *(f"{one[key]:.1f}" for key in ("drift", "far", "questions")),
            f"{one['cpu']:.1f} (×{one['cpu'] / first:.2f})",
            f"{one['memory'] / 1e6:.0f}",
        ]
        for one in found
    ]


Block = tuple[str, tuple[str, ...], list[list[str]]]  # title, columns, lines


def blocks(results: dict[str, Any], rows: list[Row], goals: list[Goal]) -> list[Block]:
    """All tables of a run."""
    found: list[Block] = [(title, COLUMNS, [cells(row) for row in group]) for title, group in grouped(rows).items()]
    if results["syncs"]:
        lines = [
            [peer, way, f"{calls['all']:,.0f}", _others(calls), f"{calls['messages']:.0f}"]
            for peer, ways in results["syncs"].items()
            for way, calls in ways.items()
        ]
        columns = ("server", "way", "syncs", "calls seen", "messages counted")
        found.append(("Syncs a thousand messages (workload a)", columns, lines))
    if alone := results.get("alone"):
        found.append(
            (
                "One message of 4 KiB at a time, accepted only, caches warm",
                ("server", "p50 ms", "p99 ms", "p50 added by its checks, ms"),
                [
                    [peer, *(f"{one[key]:.2f}" if key in one else "–" for key in ("p50", "p99", "added"))]
                    for peer, one in alone.items()
                ],
            )
        )
    if results["crowd"]:
        lines = [
            [peer, kind, ", ".join(_measured(key, value) for key, value in measured.items())]
            for peer, kinds in results["crowd"].items()
            for kind, measured in kinds.items()
        ]
        found.append(("Idle and slow peers", ("server", "which", "found"), lines))
    for name, key in (("queue", "waiting"), ("directory", "domains")):
        if results["growth"].get(name):
            columns = (key, "CPU ms a mail", "in mailbox/s", "MB", "start s")
            found.append((f"Growth: {name}", columns, growth_cells(results["growth"][name], key)))
    if domains := results.get("domains"):
        found.append(("Records of many domains, on a Knot that signs", DOMAIN_COLUMNS, domain_cells(domains)))
    found.append(("Goals", ("goal", "wanted", "got", "met"), [goal_cells(goal) for goal in goals]))
    return found


def print_all(console: Console, results: dict[str, Any], rows: list[Row], goals: list[Goal]) -> None:
    for title, columns, lines in blocks(results, rows, goals):
        table = Table(title=title, title_justify="left", title_style="bold")
        for at, name in enumerate(columns):
            table.add_column(name, justify="left" if at == 0 else "right")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for words in _notes(results, rows):
        console.print(words, markup=False)


def markdown(results: dict[str, Any], rows: list[Row], goals: list[Goal]) -> str:
    """The same for the documentation; the goals come first."""
    parts = []
    *others, last = blocks(results, rows, goals)
    for title, columns, lines in (last, *others):
        rule = ["---", *("---:" for _ in columns[1:])]
        parts.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *lines)))
    notes = "\n".join(f"* {words}" for words in _notes(results, rows))
    return "\n\n".join([*parts, notes] if notes else parts)


def _notes(results: dict[str, Any], rows: list[Row]) -> list[str]:
    """What went wrong and what was left out."""
    errors = [f"{row.peer} {row.load} {row.way}: first error: {row.first_error}" for row in rows if row.first_error]
    return errors + [f"skipped: {name}: {reason}" for name, reason in results["skipped"].items()]


def _measured(key: str, value: float) -> str:
    if key == "memory":
        return f"MB {value / 1e6:.0f}"
    return f"{key} {value:,.2f}".removesuffix(".00")


def _others(calls: dict[str, float]) -> str:
    return (
        ", ".join(f"{name} {count:,.0f}" for name, count in calls.items() if name not in ("all", "messages")) or "none"
    )
