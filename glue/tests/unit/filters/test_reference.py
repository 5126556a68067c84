"""The reference page is what the options say; every filter has a page, and every option is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.filters.reference import reference
from postane.filters.registry import BUILTIN

DOCS = Path(__file__).parents[4] / "docs" / "reference"


def test_the_page_is_printed_from_the_options() -> None:
    page = DOCS / "filters.md"
    assert page.read_text() == reference(), "run: .venv/bin/postane filters reference > docs/reference/filters.md"


def test_every_option_is_explained() -> None:
    assert [line for line in reference().splitlines() if line.endswith("|  |")] == []


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_every_filter_has_a_page_and_a_twin_test(name: str) -> None:
    assert (DOCS / "filters" / f"{name}.md").read_text().startswith(f"# {name}\n")
    assert (Path(__file__).parent / "builtin" / f"test_{name}.py").exists()
