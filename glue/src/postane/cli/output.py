"""What verbs print: tables on a terminal, plain lines elsewhere, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import msgspec
import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]


def json(value: object) -> None:
    """One JSON document, readable, keys in a fixed order."""
    encoded = msgspec.json.encode(value)
    typer.echo(msgspec.json.format(encoded, indent=2).decode())


def table(rows: Sequence[Any], columns: Iterable[str] | None = None, *, none: str = "nothing") -> None:
    """A table of dataclasses; `columns` names fields, all by default. Tab-separated lines where nobody looks."""
    if not rows:
        typer.echo(none)
        return
    first = rows[0]
    assert is_dataclass(first)
    names = list(columns or (field.name for field in fields(first)))
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(_cell(getattr(row, name)) for name in names))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        shown.add_column(name.replace("_", " "))
    for row in rows:
        shown.add_row(*(_cell(getattr(row, name)) for name in names))
    Console().print(shown)


def change(changed: bool, item: object, words: str, *, as_json: bool, password: str = "") -> None:
    """The answer of a verb that changes: `{"changed": …, "item": …}`, or a line of words.

    `password`, if one was made, is told here and nowhere else: as a key of its own, or on a line of its own.
    """
    if as_json:
        json({"changed": changed, "item": item} | ({"password": password} if password else {}))
        return
    typer.echo(words if changed else f"unchanged: {words}")
    if password:
        typer.echo(f"password: {password}")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " ".join(str(one) for one in value)
    return str(value)
