"""`postane domain records` and `postane domain publish`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import dns
from postane.cli import output
from postane.cli.site import site
from postane.core.errors import UsageError
from postane.dns.records import zone_file


def register(app: typer.Typer) -> None:
    """Adds the verbs to the noun `domain`."""
    app.command()(records)
    app.command()(publish)


def records(
    name: Annotated[str, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.")],
    zone: Annotated[bool, typer.Option("--zone", help="As a zone file, to be taken elsewhere.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show the DNS records that a domain needs.

    Example: `postane domain records example.org --zone`
    """
    found = dns.records(site(), name)
    if as_json:
        output.json(found)
    elif zone:
        typer.echo(zone_file(found), nl=False)
    else:
        output.table(found, ("name", "type", "data"))


def publish(
    names: Annotated[list[str] | None, typer.Argument(help="Domains to publish.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All hosted domains; zones of others are taken out of the name server.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")] = False,
    as_json: output.Json = False,
) -> None:
    """Put the records of domains into this host's name server; what is right already is left alone.

    Example: `postane domain publish example.org --dry-run`
    """
    if bool(names) == everything:
        raise UsageError("name the domains to publish, or say --all")
    done = dns.publish(site(), names or (), everything=everything, dry_run=dry_run)
    if as_json:
        output.json(done)
        return
    for change in done.zones:
        if not change.hosted:
            typer.echo(f"- {change.domain} (the whole zone)")
        for record in change.removed:
            typer.echo(f"- {record}")
        for record in change.added:
            typer.echo(f"+ {record}")
    typer.echo(("would change" if dry_run else "published") if done.changed else "unchanged")
    if done.note:
        typer.echo(f"note: {done.note}")
