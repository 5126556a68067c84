"""The reference page is what the model says, and the model explains every key."""

from __future__ import annotations

from pathlib import Path

from postane.config.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "configuration.md"


def test_the_page_is_printed_from_the_model() -> None:
    assert PAGE.read_text() == reference(), "run: .venv/bin/postane config reference > docs/reference/configuration.md"


def test_every_key_is_explained() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []
