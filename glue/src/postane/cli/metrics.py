"""`postane metrics`: what the processes of this host count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure as one line."""

    name: str
    labels: str
    value: str


@app.command()
def show(
    part: Annotated[str, typer.Argument(help="Part of a name, such as filter; empty: all.")] = "",
    by_worker: Annotated[bool, typer.Option("--by-worker", help="Each process by itself, not their sum.")] = False,
    text: Annotated[bool, typer.Option("--text", help="All of it as Prometheus scrapes it.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show what was counted since the services started; of durations, how many and their mean.

    Example: `postane metrics show filter_failures`
    """
    from postane.admin import metrics
    from postane.config.load import load

    config = load(config_path())
    if text:
        typer.echo(metrics.text(config), nl=False)
        return
    found = metrics.shown(config, part, by_worker=by_worker)
    if as_json:
        output.json(found)
        return
    rows = []
    for one in found:
        labels = " ".join(f"{name}={value}" for name, value in one.labels.items())
        value = f"{one.value:.12g}" if one.count is None else f"{one.count:.12g} × {one.value * 1000:.3g} ms"
        rows.append(Row(one.name, labels, value))
    output.table(rows, none="nothing is counted: the services do not run, or their runtime folder is another")


@app.command()
def reference() -> None:
    """Print the reference page of the metrics."""
    from postane.observe.reference import reference as page

    typer.echo(page(), nl=False)
