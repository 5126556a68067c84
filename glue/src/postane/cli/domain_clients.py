"""`postane domain clients`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import clients
from postane.cli import output
from postane.cli.site import site


def register(app: typer.Typer) -> None:
    """Adds the verb to the noun `domain`."""
    app.command("clients")(show)


def show(
    name: Annotated[str, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.")],
    as_json: output.Json = False,
) -> None:
    """Show what mail programs are told of a domain: services, where they ask, and the DNS records that lead there.

    Example: `postane domain clients example.org`
    """
    found = clients.show(site(), name)
    if as_json:
        output.json(found)
        return
    typer.echo(f"{found.shown} at {found.provider}; login: {found.login}")
    if found.webmail:
        typer.echo(f"web mail: {found.webmail}")
    output.table(found.services, ("name", "host", "port", "security"))
    if found.missing:
        typer.echo(f"not there: {', '.join(found.missing)}")
    output.table(found.ways, ("name", "asks", "url"))
    output.table(found.records, ("name", "type", "data"))
    for line in found.mta_sts:
        typer.echo(line)
