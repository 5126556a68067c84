"""One measurement, and what is made of many: medians, and ratios to tuned Postfix. No I/O here.

Servers with Rspamd are compared with tuned Postfix with Rspamd as its milter, those with all checks with tuned Postfix
with all checks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

BASE = "postfix-tuned"
RSPAMD = "-rspamd"  # ends the name of a server that asks it
RSPAMD_BASE = "postfix-rspamd"
FILTERS = "-filters"  # ends the name of a server with all checks
FILTERS_BASE = "postfix-filters"


def base_of(peer: str) -> str:
    if peer.endswith(FILTERS):
        return FILTERS_BASE
    return RSPAMD_BASE if peer.endswith(RSPAMD) else BASE


def asks_others(peer: str) -> bool:
    """True for a server that has services beside it, and so is measured in fewer ways."""
    return base_of(peer) != BASE


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer, one workload, one round.

    `way` is held or delivered (rounds.py). `figures`: rate and end_to_end in messages/s, p50 and p99 in ms, cpu in ms a
    message, memory in octets, errors in messages.
    """

    peer: str
    load: str
    way: str
    figures: dict[str, float]
    first_error: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one peer's rounds of a workload. `ratios` hold the same keys where a rate of its base is known."""

    peer: str
    load: str
    way: str
    rounds: int
    figures: dict[str, float]
    ratios: dict[str, float]
    first_error: str = ""


RATES = ("rate", "end_to_end")
SUMS = ("errors", "redialled")  # one of them in any round is to be seen, so they are not flattened by a median


def summed_up(samples: Iterable[Sample]) -> list[Row]:
    """A row for each (load, way, peer), in the order in which they first came."""
    groups: dict[tuple[str, str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.load, sample.way, sample.peer), []).append(sample)
    middles = {key: _middle([one.figures for one in group]) for key, group in groups.items()}
    rows = []
    for (load, way, peer), group in groups.items():
        mine, base = middles[load, way, peer], middles.get((load, way, base_of(peer)), {})
        ratios = {key: mine[key] / base[key] for key in RATES if mine.get(key) and base.get(key)}
        mine = mine | {"spread": spread([one.figures["rate"] for one in group if "rate" in one.figures])}
        error = next((one.first_error for one in group if one.first_error), "")
        rows.append(Row(peer, load, way, len(group), mine, ratios, error))
    return rows


def _middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for figures in rounds for key in figures)
    found = {}
    for key in keys:
        values = [figures[key] for figures in rounds if key in figures]
        found[key] = float(sum(values)) if key in SUMS else float(statistics.median(values))
    return found


def spread(values: list[float]) -> float:
    """How far the rounds lie apart: (largest - smallest) / median; 0 for fewer than two."""
    middle = statistics.median(values) if values else 0.0
    return (max(values) - min(values)) / middle if len(values) > 1 and middle else 0.0
