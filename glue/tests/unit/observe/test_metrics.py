"""What is counted is shown, and what several processes counted adds up."""

from __future__ import annotations

import pytest
from msgspec import DecodeError

from postane.observe.metrics import Metrics


def test_what_was_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.count("postane_deliveries", "Attempts", fate="delivered")
    metrics.count("postane_deliveries", "Attempts", 2, fate="delivered")
    metrics.gauge("postane_queue_messages", "Messages in the queue", 7)
    metrics.seconds("postane_delivery_seconds", "Time of a delivery", 0.2)
    metrics.clock("postane_delivery_seconds", "Time of a delivery")(400)
    text = metrics.render().decode()
    assert "# HELP postane_deliveries_total Attempts\n# TYPE postane_deliveries_total counter" in text
    assert 'postane_deliveries_total{fate="delivered"} 3.0' in text
    assert "postane_queue_messages 7.0" in text
    assert 'postane_delivery_seconds_bucket{le="0.1"} 0.0' in text
    assert 'postane_delivery_seconds_bucket{le="0.25"} 1.0' in text
    assert 'postane_delivery_seconds_bucket{le="300.0"} 1.0' in text
    assert 'postane_delivery_seconds_bucket{le="+Inf"} 2.0' in text
    assert "postane_delivery_seconds_count 2.0" in text
    assert "postane_delivery_seconds_sum 400.2" in text
    assert "postane_deliveries_total" not in Metrics().render().decode()


def test_a_name_may_say_that_it_is_a_total() -> None:
    metrics = Metrics()
    metrics.count("postane_failures_total", "Failures", filter="x", phase="data")
    metrics.count("postane_failures_total", "Failures", phase="data", filter="x")
    assert 'postane_failures_total{filter="x",phase="data"} 2.0' in metrics.render().decode()


def test_hot_and_foreign_figures_are_read_when_they_are_asked_for() -> None:
    metrics, open_ones = Metrics(), [3]
    refused = metrics.tally("postane_refusals", "Refused", "door", "code")
    metrics.watch(lambda: metrics.gauge("postane_sessions_open", "Open", open_ones[0]))
    refused["smtp", "550"] += 1
    refused["smtp", "550"] += 1
    assert 'postane_refusals_total{code="550",door="smtp"} 2.0' in metrics.render().decode()
    open_ones[0] = 5
    refused["smtp", "451"] += 1
    text = metrics.render().decode()
    assert 'postane_refusals_total{code="550",door="smtp"} 2.0' in text  # not counted twice
    assert 'postane_refusals_total{code="451",door="smtp"} 1.0' in text
    assert "postane_sessions_open 5.0" in text


def test_what_processes_counted_adds_up() -> None:
    one, two, both = Metrics(), Metrics(), Metrics()
    for metrics in (one, two):
        metrics.count("postane_x", "X", door="a")
        metrics.gauge("postane_y", "Y", 2)
        metrics.seconds("postane_z_seconds", "Z", 0.02)
    two.count("postane_x", "X", door="b")
    both.add(one.pack(), {"worker": "w0"})
    both.add(two.pack(), {"worker": "w1"}, gauges=False)
    text = both.render().decode()
    assert 'postane_x_total{door="a",worker="w0"} 1.0' in text
    assert 'postane_x_total{door="b",worker="w1"} 1.0' in text
    assert 'postane_y{worker="w0"} 2.0' in text
    assert 'postane_y{worker="w1"}' not in text
    text = both.without("worker").render().decode()
    assert 'postane_x_total{door="a"} 2.0' in text
    assert 'postane_z_seconds_bucket{le="0.025"} 2.0' in text
    with pytest.raises(DecodeError):
        both.add(b"rubbish")


def test_a_yes_or_no_is_a_figure_too() -> None:
    metrics, both = Metrics(), Metrics()
    metrics.gauge("postane_up", "Up", True)
    metrics.total("postane_x", "X", 3)
    both.add(metrics.pack())
    assert "postane_up 1.0" in both.render().decode()


def test_labels_cannot_break_the_text() -> None:
    metrics = Metrics()
    metrics.count("postane_x", "X", code='5"\n\\0')
    assert 'postane_x_total{code="5\\"\\n\\\\0"} 1.0' in metrics.render().decode()
