"""`postane domain export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postane.admin import domain_export
from postane.cli import output
from postane.cli.site import site
from postane.cli.who import who


def register(app: typer.Typer) -> None:
    """Adds the verb to the noun `domain`."""
    app.command()(export)


def export(
    name: Annotated[str, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.")],
    to: Annotated[Path, typer.Option("--to", help="A new folder, or one that an earlier run has begun.")],
    secrets: Annotated[
        bool, typer.Option("--secrets", help="With the hashes of passwords and the private DKIM keys.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="The folder of all mailboxes, where it is not the host's.")] = None,
    as_json: output.Json = False,
) -> None:
    """Write all data of a domain into a folder: people, aliases, settings, records, and the mail of each as a tar file.

    Stopped, it goes on where it was; run again, it takes only what has changed. A domain that leaves waits for it.

    Example: `postane domain export example.org --to /srv/export/example.org --secrets`
    """

    def told(done: int, of: int, address: str, octets: int) -> None:
        what = f"{octets / 1e6:.1f} MB" if octets >= 0 else "as before"
        typer.echo(f"{done} of {of}: {address}: {what}", err=True)

    done = domain_export.export(site(), name, to, secrets=secrets, root=root, told=told, who=who())
    words = f"{done.domain}: {done.messages} messages of {done.accounts} accounts, {done.octets / 1e6:.1f} MB in {to}"
    output.change(True, done, words, as_json=as_json)
