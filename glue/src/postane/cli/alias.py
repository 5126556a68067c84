"""`postane alias`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import alias
from postane.cli import output
from postane.cli.site import site

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ADDRESS", help="The alias; *@domain catches all.")]


@app.command()
def add(
    address: Name,
    targets: Annotated[list[str], typer.Argument(help="Where its mail goes: addresses here or away.")],
    as_json: output.Json = False,
) -> None:
    """Make an alias, or give it just these targets.

    Example: `postane alias add info@example.org ayse@example.org archive@example.net`
    """
    done = alias.put(site(), address, targets)
    words = f"{done.item.address} → {', '.join(done.item.targets)}"
    output.change(done.changed, done.item, words, as_json=as_json)


@app.command()
def remove(address: Name, as_json: output.Json = False) -> None:
    """Remove an alias."""
    done = alias.remove(site(), address)
    output.change(done.changed, done.item, f"alias {done.item.address} is gone", as_json=as_json)


@app.command("list")
def every(
    domain: Annotated[str | None, typer.Argument(help="Only those of this domain.")] = None,
    as_json: output.Json = False,
) -> None:
    """List aliases with their targets."""
    found = alias.every(site(), domain)
    output.json(found) if as_json else output.table(found, none="no aliases yet")


@app.command()
def show(address: Name, as_json: output.Json = False) -> None:
    """Show one alias."""
    found = alias.show(site(), address)
    output.json(found) if as_json else output.table([found])
