"""The chart is well-formed SVG with a bar for each ratio, and suits a light and a dark page."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bench.chart import LEFT, RIGHT, WIDTH, drawn
from bench.samples import Row

SVG = "{http://www.w3.org/2000/svg}"


def _bars(text: str) -> dict[str, float]:
    """Width of the bar by the label before it."""
    root = ET.fromstring(text)
    labels = [
        one.text or "" for one in root.iter(f"{SVG}text") if one.get("text-anchor") == "end" and not one.get("style")
    ]
    widths = [float(one.get("width", "0")) for one in root.iter(f"{SVG}rect")]
    return dict(zip(labels, widths, strict=True))


def _row(peer: str, rate: float, ratio: float | None, way: str = "held") -> Row:
    key = "rate" if way == "held" else "end_to_end"
    return Row(peer, "a", way, 1, {key: rate}, {} if ratio is None else {key: ratio})


def test_bars_are_as_long_as_the_ratios_and_fit() -> None:
    bars = _bars(drawn([_row("postane", 600, 6.0), _row("postfix-tuned", 100, 1.0), _row("aiosmtpd", 50, 0.5)], "x"))
    assert bars["postane"] == WIDTH - LEFT - RIGHT
    assert abs(bars["postane"] / bars["postfix-tuned"] - 6) < 0.01
    assert abs(bars["postfix-tuned"] / bars["aiosmtpd"] - 2) < 0.01


def test_a_row_without_a_ratio_has_no_bar() -> None:
    assert set(_bars(drawn([_row("postane", 600, None), _row("postfix-tuned", 100, 1.0)], "x"))) == {"postfix-tuned"}


def test_end_to_end_is_drawn_from_its_own_ratio() -> None:
    rows = [_row("postane", 300, 3.0, "delivered"), _row("postfix-tuned", 100, 1.0, "delivered")]
    assert "3.0× · 300/s" in drawn(rows, "x")


def test_nothing_measured_is_still_a_picture() -> None:
    assert _bars(drawn([], "nothing")) == {}


def test_words_are_escaped_and_colours_have_a_dark_form() -> None:
    text = drawn([_row("postfix-tuned", 100, 1.0)], "1 < 2 & 3")
    assert ET.fromstring(text) is not None
    assert "prefers-color-scheme: dark" in text
