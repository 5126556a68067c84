"""Counters, gauges and durations: what a process counts, and the one doorway to prometheus_client.

A process makes one `Metrics` and hands it to its parts; nothing is registered at import.
Names begin with `postane_` and end in what they count; labels have few values, never an address or a domain of a peer.

    metrics.count("postane_notices", "Notices sent", action="failed")       now and then
    refused = metrics.tally("postane_refused", "Refused", "code")            for each message: a plain Counter ...
    refused["550",] += 1                                                     ... which costs 0.1 µs, and is read later
    metrics.watch(lambda: metrics.gauge("postane_sessions", "Open", n))      what is known anyway: asked when read

`observe.scrape` brings the figures of all processes of a host together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, msgpack

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Key = tuple[tuple[str, str], ...]
Kind = Literal["counter", "gauge", "histogram"]


class Family(Struct):
    """All figures of one name, by their labels.

    A figure is a list: `[value]`, or of a histogram how many fell into each bucket, how many beyond, and their sum.
    """

    kind: Kind
    text: str
    values: dict[Key, list[float]]
    buckets: tuple[float, ...] = ()


class Metrics:
    """What one process counts, or the sum of several. Each name is made on first use, so a process shows only its own.

    For one thread; `text` explains a name and is kept from the first call.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._tallies: list[tuple[str, str, tuple[str, ...], Counter[tuple[str, ...]]]] = []
        self._watches: list[Callable[[], None]] = []

    def count(self, name: str, text: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        self._figure("counter", name.removesuffix("_total"), text, labels)[0] += amount

    def total(self, name: str, text: str, value: float, **labels: str) -> None:
        """Sets a counter that somebody else keeps: a number of that part of the process which only grows."""
        self._figure("counter", name.removesuffix("_total"), text, labels)[0] = float(value)

    def tally(self, name: str, text: str, *labels: str) -> Counter[tuple[str, ...]]:
        """A counter for the hot path: add to it by the tuple of its labels' values."""
        tally: Counter[tuple[str, ...]] = Counter()
        self._tallies.append((name, text, labels, tally))
        return tally

    def gauge(self, name: str, text: str, value: float, **labels: str) -> None:
        """Sets a value that goes up and down."""
        self._figure("gauge", name, text, labels)[0] = float(value)

    def seconds(self, name: str, text: str, value: float, buckets: Sequence[float] = _SECONDS, **labels: str) -> None:
        """Counts a duration into a histogram."""
        self.clock(name, text, buckets, **labels)(value)

    def clock(
        self, name: str, text: str, buckets: Sequence[float] = _SECONDS, **labels: str
    ) -> Callable[[float], None]:
        """A histogram for the hot path: called with each duration."""
        figure = self._figure("histogram", name, text, labels, buckets)

        def add(value: float) -> None:
            figure[bisect_left(buckets, value)] += 1
            figure[-1] += value

        return add

    def watch(self, look: Callable[[], None]) -> None:
        """`look` is called before each reading, and sets what is known elsewhere."""
        self._watches.append(look)

    def pack(self) -> bytes:
        """All of it as octets, for `add`."""
        return msgpack.encode(self.read())

    def add(self, packed: bytes, labels: Mapping[str, str] = MappingProxyType({}), *, gauges: bool = True) -> None:
        """Adds what another process packed, each figure under further labels. Raises DecodeError."""
        for name, family in msgpack.decode(packed, type=dict[str, Family]).items():
            if family.kind == "gauge" and not gauges:
                continue
            for key, figure in family.values.items():
                mine = self._figure(family.kind, name, family.text, {**dict(key), **labels}, family.buckets)
                if len(mine) == len(figure):
                    mine[:] = [a + b for a, b in zip(mine, figure, strict=True)]

    def without(self, *labels: str) -> Metrics:
        """The sums over these labels."""
        summed = Metrics()
        for name, family in self.read().items():
            for key, figure in family.values.items():
                kept = {label: value for label, value in key if label not in labels}
                mine = summed._figure(family.kind, name, family.text, kept, family.buckets)
                mine[:] = [a + b for a, b in zip(mine, figure, strict=True)]
        return summed

    def read(self) -> dict[str, Family]:
        """As it stands now."""
        for look in self._watches:
            look()
        for name, text, labels, tally in self._tallies:
            for values, count in tally.items():
                self.total(name, text, count, **dict(zip(labels, values, strict=True)))
        return self._families

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        # Here, not above: it brings an HTTP server along, and is needed by the one who shows figures.
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Shown(self.read()))
        return generate_latest(registry)

    def _figure(
        self, kind: Kind, name: str, text: str, labels: dict[str, str], buckets: Sequence[float] = ()
    ) -> list[float]:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(kind, text, {}, tuple(buckets))
        key = tuple(labels.items()) if len(labels) < 2 else tuple(sorted(labels.items()))
        figure = family.values.get(key)
        if figure is None:
            figure = family.values[key] = [0.0] * (len(buckets) + 2 if kind == "histogram" else 1)
        return figure


class _Shown:
    """What prometheus_client asks for its text."""

    def __init__(self, families: dict[str, Family]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, family in sorted(self._families.items()):
            names = sorted({label for key in family.values for label, _ in key})
            given = [([dict(key).get(label, "") for label in names], f) for key, f in sorted(family.values.items())]
            if family.kind == "histogram":
                shown = HistogramMetricFamily(name, family.text, labels=names)
                for labels, figure in given:
                    shown.add_metric(labels, _cumulated(family.buckets, figure), figure[-1])
                yield shown
                continue
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            plain = kind(name, family.text, labels=names)
            for labels, figure in given:
                plain.add_metric(labels, figure[0])
            yield plain


def _cumulated(buckets: Sequence[float], figure: Sequence[float]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what is in the smaller ones too."""
    sums, so_far = [], 0.0
    for edge, count in zip([*map(str, buckets), "+Inf"], figure[:-1], strict=True):
        so_far += count
        sums.append((edge, so_far))
    return sums
