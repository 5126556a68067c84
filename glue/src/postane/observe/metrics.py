"""Counters and gauges: the one doorway to prometheus_client.

A process makes one `Metrics` and hands it to its parts; nothing is registered at import.
Names end in what they count; labels have few values, never an address or a domain of a peer.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """What this process counts. Each name is made on first use, so a process shows only its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def count(self, name: str, text: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter; `text` explains it and is kept from the first call."""
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = Counter(name, text, sorted(labels), registry=self._registry)
        (counter.labels(**labels) if labels else counter).inc(amount)

    def gauge(self, name: str, text: str, value: float, **labels: str) -> None:
        """Sets a value that goes up and down."""
        gauge = self._gauges.get(name)
        if gauge is None:
            gauge = self._gauges[name] = Gauge(name, text, sorted(labels), registry=self._registry)
        (gauge.labels(**labels) if labels else gauge).set(value)

    def seconds(self, name: str, text: str, value: float, buckets: Sequence[float] = _SECONDS, **labels: str) -> None:
        """Counts a duration into a histogram."""
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = Histogram(name, text, sorted(labels), buckets=buckets, registry=self._registry)
            self._histograms[name] = histogram
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
