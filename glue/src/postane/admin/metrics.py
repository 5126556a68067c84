"""What the processes of this host count, as rows for an operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from postane.config.model import Config
from postane.observe import scrape
from postane.observe.metrics import Family


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is of a counter, a gauge, or the mean of durations, of which there are `count`."""

    name: str
    labels: dict[str, str]
    value: float
    count: float | None = None


def shown(config: Config, part: str = "", *, by_worker: bool = False) -> list[Figure]:
    """All whose name holds `part`; the sum of all workers, or each by itself. Empty if nothing runs."""
    found = scrape.gather(Path(config.runtime) / scrape.FOLDER)
    families = (found if by_worker else found.without("worker")).read()
    return [one for name, family in sorted(families.items()) if part in name for one in _figures(name, family)]


def text(config: Config) -> str:
    """As Prometheus scrapes it."""
    return scrape.gather(Path(config.runtime) / scrape.FOLDER).render().decode()


def _figures(name: str, family: Family) -> Iterator[Figure]:
    for key, figure in sorted(family.values.items()):
        if family.kind != "histogram":
            yield Figure(name, dict(key), figure[0])
            continue
        count = sum(figure[:-1])
        yield Figure(name, dict(key), figure[-1] / count if count else 0.0, count)
