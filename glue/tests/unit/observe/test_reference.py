"""Every metric of the code stands in the reference, with its text; the page is printed anew when one comes or goes."""

from __future__ import annotations

import re
from pathlib import Path

from postane.observe.reference import described, reference

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "metrics.md"
HOWTO = Path(__file__).parents[4] / "docs" / "howto" / "metrics.md"


def test_the_page_is_printed_from_the_code() -> None:
    page = PAGE.read_text()
    assert page == reference(), "run: .venv/bin/postane metrics reference > docs/reference/metrics.md"


def test_what_is_found_is_described() -> None:
    found = {one.name: one for one in described()}
    failures = found["postane_filter_failures_total"]
    assert (failures.kind, failures.labels) == ("counter", ("filter", "phase"))
    assert found["postane_refusals_total"].labels == ("at", "code", "door", "status")
    assert found["postane_in_flight_at_start"].text == "Messages whose delivery was under way when the last run ended"
    assert [one.name for one in described() if not one.text] == []


def test_alerts_ask_for_what_there_is() -> None:
    names = {one.name for one in described()}
    durations = {f"{one.name}{end}" for one in described() if one.kind == "histogram" for end in ("_bucket", "_count")}
    asked = set(re.findall(r"\bpostane_[a-z_]+", HOWTO.read_text()))
    assert asked
    assert asked - names - durations == set()
