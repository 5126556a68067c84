"""`postane tenant`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import tenant
from postane.cli import output
from postane.cli.site import site

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The tenant's name.")]


@app.command()
def add(name: Name, as_json: output.Json = False) -> None:
    """Add a tenant."""
    done = tenant.add(site(), name)
    output.change(done.changed, done.item, f"tenant {name} is there", as_json=as_json)


@app.command()
def remove(name: Name, as_json: output.Json = False) -> None:
    """Remove a tenant that has no domains."""
    done = tenant.remove(site(), name)
    output.change(done.changed, done.item, f"tenant {name} is gone", as_json=as_json)


@app.command("list")
def every(as_json: output.Json = False) -> None:
    """List tenants with the number of their domains."""
    found = tenant.every(site())
    output.json(found) if as_json else output.table(found, none="no tenants yet")
