"""`postane config`: check a file, show what holds, print the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path

app = typer.Typer(no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The file to check.")]) -> None:
    """Refuse a bad file (exit 78) with line, key and reason; say nothing wrong of a good one.

    Example: `postane config check /etc/postane/postane.yml`
    """
    from postane.config.load import load
    from postane.filters.registry import check as good_filters

    load(file, good_filters)
    typer.echo(f"{file}: good")


@app.command()
def show() -> None:
    """Print the configuration that holds, defaults filled in, passwords left out, as JSON."""
    from postane.config.load import load
    from postane.config.shown import without_secrets

    output.json(without_secrets(load(config_path())))


@app.command()
def reference() -> None:
    """Print the reference page of all keys."""
    from postane.config.reference import reference as page

    typer.echo(page(), nl=False)
