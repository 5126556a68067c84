"""The page of the command is what the command says, and every verb teaches."""

from __future__ import annotations

from pathlib import Path

from postane.cli.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "commands.md"


def test_the_page_is_printed_from_the_command() -> None:
    told = "run: .venv/bin/python -m postane.cli.reference > docs/reference/commands.md"
    assert PAGE.read_text() == reference(), told


def test_every_verb_and_option_is_explained() -> None:
    lines = reference().splitlines()
    verbs = [number for number, line in enumerate(lines) if line.startswith("### ")]
    assert len(verbs) > 25
    assert [lines[number] for number in verbs if not lines[number + 2].strip()] == []
    assert [line for line in lines if line.startswith("| `--") and line.endswith("|  |")] == []
