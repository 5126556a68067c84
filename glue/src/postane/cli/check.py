"""`postane check`: the daemon's own evaluators, run for one case. Each exits 0 for pass and none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from postane.cli import check_dnsbl, output
from postane.cli.site import config_path
from postane.core.errors import UsageError

_PIECE = 256 * 1024

app = typer.Typer(no_args_is_help=True)
app.command()(check_dnsbl.dnsbl)

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


@app.command()
def dkim(nameserver: Nameserver = "", as_json: Json = True) -> None:
    """Say which signatures of a message hold (DKIM, RFC 6376). The message comes on standard input.

    Exits 0 if one passes, or if there is none.

    Example: `postane check dkim < mail.eml`
    """
    from postane.admin import check

    view = asyncio.run(check.dkim(message(), check.resolver(nameserver, config_path()).ask))
    output.json(view)
    leave(view.result)


@app.command()
def arc(nameserver: Nameserver = "", as_json: Json = True) -> None:
    """Say whether the chain of those who passed a message on holds (ARC, RFC 8617). It comes on standard input.

    Example: `postane check arc < mail.eml`
    """
    from postane.admin import check

    view = asyncio.run(check.arc(message(), check.resolver(nameserver, config_path()).ask))
    output.json(view)
    leave(view.cv)


@app.command()
def dmarc(
    ip: Ip,
    helo: Helo,
    mail_from: MailFrom,
    nameserver: Nameserver = "",
    public_suffix_list: Annotated[
        bool,
        typer.Option("--public-suffix-list", help="Find the organisation by that list; else by the DNS tree walk."),
    ] = False,
    as_json: Json = True,
) -> None:
    """Say what the author's domain asks for a message, and whether it passes (DMARC, RFC 9989).

    The message comes on standard input.

    Example: `postane check dmarc --ip 192.0.2.1 --helo mail.example.org --mail-from ayse@example.org < mail.eml`
    """
    from postane.admin import check

    ask = check.resolver(nameserver, config_path()).ask
    suffixes = check.suffixes(config_path()) if public_suffix_list else None
    view, reason = asyncio.run(check.dmarc(message(), ip, helo, mail_from, ask, suffixes))
    if reason:
        typer.echo(f"postane: {reason}", err=True)
    output.json(view)
    leave(view.result)


@app.command()
def clamav(
    address: Annotated[
        str, typer.Option("--address", help="Path of clamd's socket, or host:port; else the configuration's.")
    ] = "",
    as_json: Json = True,
) -> None:
    """Say whether clamd answers, and how old its signatures are.

    Exits 1 if it does not answer, or if they are over a week old.

    Example: `postane check clamav`
    """
    import time

    from postane.admin import clamav as scanner

    try:
        view = asyncio.run(scanner.check(address or scanner.address(config_path()), time.time()))
    except ValueError as error:
        raise UsageError(f"--address: {error}") from error
    output.json(view)
    leave(view.result)


def message() -> Iterator[bytes]:
    """Standard input, piece by piece."""
    if sys.stdin.isatty():
        raise UsageError("the message comes on standard input", hint="postane check … < mail.eml")
    while piece := sys.stdin.buffer.read(_PIECE):
        yield piece


def leave(result: str) -> None:
    """Ends the command: 0 where the result is pass or none, else 1. For all verbs of this noun."""
    raise typer.Exit(0 if result in ("pass", "none") else 1)
