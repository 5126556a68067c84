"""Where Postane wants to be, and whether this run got there. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.samples import BASE, FILTERS, RSPAMD, Row

OURS = "postane"


@dataclass(frozen=True, slots=True)
class Goal:
    """`got` is None where it was not measured; `least` says whether more is better."""

    name: str
    wanted: float
    got: float | None
    unit: str
    least: bool = True

    @property
    def met(self) -> bool | None:
        if self.got is None:
            return None
        return self.got >= self.wanted if self.least else self.got <= self.wanted


def judged(
    rows: list[Row],
    crowd: dict[str, Any],
    alone: dict[str, dict[str, float]] | None = None,
    domains: list[dict[str, float]] | None = None,
) -> list[Goal]:
    """Every goal with what was measured. `crowd`: what crowd.py found for Postane, by idle, idle_tls, slow; `alone`:
    what run.Bench.alone found, by server; `domains`: what domains.py found.
    """
    by_key = {(row.load, row.way, row.peer): row for row in rows}

    def ratio(load: str, way: str, key: str) -> float | None:
        row = by_key.get((load, way, OURS))
        return row.ratios.get(key) if row else None

    def p99(load: str, way: str) -> float | None:
        ours, theirs = by_key.get((load, way, OURS)), by_key.get((load, way, BASE))
        return ours.figures["p99"] / theirs.figures["p99"] if ours and theirs and theirs.figures["p99"] else None

    def of(kind: str, key: str) -> float | None:
        value = crowd.get(kind, {}).get(key)
        return float(value) if value is not None else None

    tree = by_key.get(("a", "delivered", OURS)) or by_key.get(("a", "held", OURS))
    goals = [
        Goal("a, accepted", 6, ratio("a", "held", "rate"), "× tuned Postfix"),
        Goal("b, accepted", 8, ratio("b", "held", "rate"), "× tuned Postfix"),
        Goal("c, accepted", 2, ratio("c", "held", "rate"), "× tuned Postfix"),
        Goal("a, end to end", 3, ratio("a", "delivered", "end_to_end"), "× tuned Postfix"),
        Goal("b, end to end", 3, ratio("b", "delivered", "end_to_end"), "× tuned Postfix"),
    ]
    with_rspamd = by_key.get(("a", "held", OURS + RSPAMD))
    got = with_rspamd.ratios.get("rate") if with_rspamd else None
    goals.append(Goal("a, accepted, with Rspamd", 2.5, got, "× Postfix with its milter"))
    with_all = by_key.get(("a", "held", OURS + FILTERS))
    got = with_all.ratios.get("rate") if with_all else None
    goals.append(Goal("a, accepted, with all checks", 2.5, got, "× Postfix with the same"))
    added = (alone or {}).get(OURS + FILTERS, {}).get("added")
    goals.append(Goal("a message alone, p50 added by all checks", 50, added, "ms", least=False))
    goals += [Goal(f"{load}, p99", 1, p99(load, "held"), "× tuned Postfix", least=False) for load in "abc"]
    goals += [
        Goal("memory of the tree", 150, tree.figures["memory"] / 1e6 if tree else None, "MB", least=False),
        Goal("an idle connection", 10, of("idle", "kib_each"), "KiB", least=False),
        Goal("greeting beside slow peers, p99", 100, of("slow", "p99"), "ms", least=False),
    ]
    return goals + _of_domains(domains or [])


def _of_domains(found: list[dict[str, float]]) -> list[Goal]:
    """Those of 1,000 domains, and that more of them cost each no more. The command's start weighs on a few."""
    of_1000 = next((one for one in found if one["domains"] == 1000), {})
    shares = [one["cpu"] for one in found if one["domains"] >= 100]
    share = shares[-1] / shares[0] if len(shares) > 1 else None
    wanted = (
        ("plan", "plan", 60, "s"),
        ("apply", "apply to Knot", 120, "s"),
        ("again", "plan again", 30, "s"),
        ("changes", "changes of that plan", 0, ""),
        ("far", "a round of looks, each record asked for", 300, "s"),
        ("questions", "questions of that round", 20, "a domain"),
    )
    goals = [
        Goal(f"1,000 domains: {name}", most, of_1000.get(key), unit, least=False) for key, name, most, unit in wanted
    ]
    return [*goals, Goal("a domain's share, of the most against 100", 1.1, share, "×", least=False)]
