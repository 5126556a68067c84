"""`postane directory`: the database itself."""

from __future__ import annotations

from pathlib import Path

import typer

from postane.cli import output
from postane.cli.site import site
from postane.storage.secret import NAMES, secret

app = typer.Typer(no_args_is_help=True)


@app.command()
def upgrade(as_json: output.Json = False) -> None:
    """Make the database and the platform's keys, or bring them to this version. A second run changes nothing."""
    here = site()
    for name in NAMES:
        secret(Path(here.config.state), name)
    database = here.database
    changed = database.upgrade()
    item = {"url": database.shown, "revision": database.revision()}
    output.change(changed, item, f"{database.shown} is at revision {item['revision']}", as_json=as_json)
