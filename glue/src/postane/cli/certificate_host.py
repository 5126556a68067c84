"""`postane certificate host`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.cli import output
from postane.cli.moment import shown as shown_moment
from postane.cli.moment import since as since_moment
from postane.cli.site import site


def host(
    since: Annotated[
        str, typer.Option(help="When the next key's record was put in by hand: an age (2d) or a date.")
    ] = "",
    as_json: output.Json = False,
) -> None:
    """Say which keys the host's TLSA records tell of, and whether the next one may serve; exit 1 if it may not.

    Example: `postane certificate host`
    """
    from postane.admin import host_key

    found = host_key.rollover(site(), since_moment(since))
    if as_json:
        output.json(found)
    else:
        for data, reason in found.records:
            typer.echo(f"{data}  {reason}")
        typer.echo(found.why + (f" ({shown_moment(found.at)})" if found.at and not found.may_switch else ""))
    if not found.may_switch:
        raise typer.Exit(1)
