"""`postane directory`: the database itself."""

from __future__ import annotations

import typer

from postane.cli import output
from postane.cli.site import site

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(as_json: output.Json = False) -> None:
    """Make the database, or bring it to this version's schema. A second run changes nothing."""
    database = site().database
    changed = database.upgrade()
    item = {"url": database.shown, "revision": database.revision()}
    output.change(changed, item, f"{database.shown} is at revision {item['revision']}", as_json=as_json)
