"""`postane audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import audit
from postane.admin.names import domain_name
from postane.cli import output
from postane.cli.moment import shown, since
from postane.cli.site import site

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """A group, though it has one verb."""


@app.command("list")
def every(
    scope: Annotated[str | None, typer.Option(help="Only what was done to this domain.")] = None,
    after: Annotated[str, typer.Option("--since", help="An age (90m, 7d) or a date.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = audit.MOST,
    as_json: output.Json = False,
) -> None:
    """Show who did what, the oldest first.

    Example: `postane audit list --scope example.org --since 7d`
    """
    found = audit.every(site(), domain_name(scope) if scope else "", since(after), limit)
    if as_json:
        output.json(found)
        return
    for one in found:
        detail = " ".join(f"{key}={value}" for key, value in one.detail.items())
        typer.echo(f"{shown(one.at)}  {one.who}  {one.verb} {one.scope}  {detail}".rstrip())
    if not found:
        typer.echo("nothing")
