from __future__ import annotations

from postane.observe.metrics import Metrics


def test_what_was_counted_is_shown() -> None:
    metrics = Metrics()
    metrics.count("postane_deliveries", "Attempts", fate="delivered")
    metrics.count("postane_deliveries", "Attempts", 2, fate="delivered")
    metrics.gauge("postane_queue_messages", "Messages in the queue", 7)
    metrics.seconds("postane_delivery_seconds", "Time of a delivery", 0.2)
    text = metrics.render().decode()
    assert 'postane_deliveries_total{fate="delivered"} 3.0' in text
    assert "postane_queue_messages 7.0" in text
    assert 'postane_delivery_seconds_bucket{le="0.25"} 1.0' in text
    assert "postane_deliveries_total" not in Metrics().render().decode()
