"""`postane filters`: which filters there are, and what they say of a message on the desk."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path, site
from postane.core.errors import ServiceMissingError

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(as_json: output.Json = False) -> None:
    """List the filters: those that run, in their order, then the others.

    Example: `postane filters list`
    """
    from postane.admin import filters
    from postane.config.load import load

    found = filters.listed(load(config_path()))
    if as_json:
        output.json(found)
    else:
        output.table(found)


@app.command()
def test(
    message: Annotated[Path, typer.Argument(help="The message; - for standard input.", allow_dash=True)],
    ip: Annotated[str, typer.Option(help="The peer's address.")],
    helo: Annotated[str, typer.Option(help="What the peer says in EHLO.")] = "client.invalid",
    sender: Annotated[str, typer.Option("--mail-from", help="The envelope sender; empty: the null sender.")] = "",
    recipients: Annotated[list[str] | None, typer.Option("--rcpt-to", help="A recipient; may be repeated.")] = None,
    login: Annotated[str, typer.Option(help="The account that submits it; empty: it comes from outside.")] = "",
    as_json: output.Json = False,
) -> None:
    """Show every filter's verdict and time for a message; nothing is accepted, kept or sent.

    What recipients, or the account of --login, want by their policies is asked for.
    Exit code 1 if any filter would refuse or defer it.

    Example: `postane filters test mail.eml --ip 192.0.2.1 --mail-from a@example.org --rcpt-to b@example.net`
    """
    from postane.admin import filters
    from postane.admin.policy import wishes_of
    from postane.config.load import load
    from postane.filters.registry import check
    from postane.observe import log

    log.configure("error", "text")
    config = load(config_path(), check)
    wishes: dict[str, tuple[str, ...]] = {}
    text = sys.stdin.buffer.read() if str(message) == "-" else message.read_bytes()
    peer = filters.desk_peer(ip, helo, login)
    to = recipients or [f"postmaster@{config.host}"]
    with suppress(ServiceMissingError):  # a desk without a directory: the configuration's filters alone
        here = site()
        wishes = {address: wishes_of(here, address) for address in filter(None, [*to, login])}
    opinions = asyncio.run(filters.try_message(config, text, peer, sender, to, wishes))
    if as_json:
        output.json(opinions)
    else:
        output.table(opinions, none="no filter is in use")
    if any(one.decision in ("reject", "defer") for one in opinions):
        raise typer.Exit(1)


@app.command()
def reference() -> None:
    """Print the reference page of the filters and their options."""
    from postane.filters.reference import reference as page

    typer.echo(page(), nl=False)
