"""`postane mailbox`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import mailboxes
from postane.cli import output
from postane.cli.moment import shown as shown_moment
from postane.cli.site import site
from postane.cli.who import who
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Addresses, or whole domains.")]
Root = Annotated[Path | None, typer.Option(help="The folder of all mailboxes, where it is not the host's.")]


@app.command("list")
def every(names: Names = None, root: Root = None, as_json: output.Json = False) -> None:
    """List mailboxes that are left of accounts that are gone. Nobody reads them; they stay until they are purged."""
    found = mailboxes.every_left(site(), names or (), root)
    output.json(found) if as_json else _show(found)


@app.command()
def purge(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is left.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, delete nothing.")] = False,
    root: Root = None,
    as_json: output.Json = False,
) -> None:
    """Delete the mail that accounts have left which are gone, for good. Mail of accounts is never touched.

    Example: `postane mailbox purge ayse@example.org --dry-run`
    """
    if bool(names) == everything:
        raise UsageError("name addresses or domains, or say --all")
    found = mailboxes.purge(site(), names or (), everything=everything, dry_run=dry_run, root=root, who=who())
    if as_json:
        output.json({"changed": bool(found) and not dry_run, "items": found})
        return
    _show(found)
    typer.echo(f"{len(found)} {'would be ' if dry_run else ''}deleted")


@dataclass(frozen=True, slots=True)
class _Row:
    address: str
    tenant: str
    left: str
    path: str


def _show(found: list[mailboxes.Left]) -> None:
    rows = [_Row(one.address, one.tenant, _moment(one.left_at), one.path) for one in found]
    output.table(rows, none="nothing is left")


def _moment(at: float | None) -> str:
    return shown_moment(at) if at is not None else "not known"
