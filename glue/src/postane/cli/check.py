"""`postane check`: the daemon's own evaluators, run for one case. Each prints JSON, and exits 0 for pass and none."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path

app = typer.Typer(no_args_is_help=True)

Ip = Annotated[str, typer.Option("--ip", help="Address of the client, IPv4 or IPv6.")]
Helo = Annotated[str, typer.Option("--helo", help="What the client said in HELO or EHLO.")]
MailFrom = Annotated[str, typer.Option("--mail-from", help="Envelope sender; '' for the null sender of bounces.")]
Nameserver = Annotated[
    str,
    typer.Option(
        "--nameserver", metavar="HOST:PORT", help="Ask this one only; else those of the configuration or the host."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; it is what is always printed.")]


@app.command()
def spf(ip: Ip, helo: Helo, mail_from: MailFrom, nameserver: Nameserver = "", as_json: Json = True) -> None:
    """Say whether a client may use a sender's domain (SPF, RFC 7208).

    Example: `postane check spf --ip 192.0.2.1 --helo mail.example.org --mail-from ayse@example.org`
    """
    from postane.admin import check

    view, problem = asyncio.run(check.spf(ip, helo, mail_from, check.resolver(nameserver, config_path()).ask))
    if problem:
        typer.echo(f"postane: {problem}", err=True)
    output.json(view)
    leave(view.result)


def leave(result: str) -> None:
    """Ends the command: 0 where the result is pass or none, else 1. For all verbs of this noun."""
    raise typer.Exit(0 if result in ("pass", "none") else 1)
