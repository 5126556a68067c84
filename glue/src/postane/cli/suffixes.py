"""`postane suffixes`: the public suffix list, by which organisations are told apart."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path

app = typer.Typer(no_args_is_help=True)


@app.command()
def show(as_json: output.Json = False) -> None:
    """Show which list is in use, and how old it is."""
    from postane.admin import suffixes
    from postane.config.load import load

    found = suffixes.show(load(config_path()))
    output.json(found) if as_json else output.table([found])


@app.command()
def update(
    source: Annotated[
        str, typer.Option("--from", metavar="FILE|URL", help="An https:// URL, or a file; else publicsuffix.org.")
    ] = "",
    as_json: output.Json = False,
) -> None:
    """Fetch the list if it has changed, check it, and put it in place; the services go by it at once.

    Whatever goes wrong, the list before stays. Example: `postane suffixes update --from /tmp/public_suffix_list.dat`
    """
    from postane.admin import suffixes
    from postane.config.load import load

    changed, found = suffixes.update(load(config_path()), source)
    words = f"the public suffix list of {found.version or 'unknown date'} with {found.rules} rules is in use"
    output.change(changed, found, words, as_json=as_json)
