"""`postane check dnsbl`: what lists in the DNS say about an address or a domain, and how the lists are."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path


def dnsbl(
    subject: Annotated[str, typer.Argument(metavar="ADDRESS", help="An IPv4 or IPv6 address, or a domain.")],
    zones: Annotated[
        list[str] | None,
        typer.Option("--zone", metavar="ZONE", help="Ask this list, not those of the configuration; may be repeated."),
    ] = None,
    nameserver: Annotated[
        str, typer.Option("--nameserver", metavar="HOST:PORT", help="Ask this one only; else those of the host.")
    ] = "",
    as_json: output.Json = False,
) -> None:
    """Show what each list in the DNS says about an address or a domain, and whether the list can be believed.

    Each list is tested first, as RFC 5782 says. Exits 1 if the score is one that the filter `dnsbl` refuses.

    Example: `postane check dnsbl 192.0.2.1 --zone bl.example.org`
    """
    from postane.admin import check, dnsbl
    from postane.observe import log

    log.configure("error", "text")
    given = dnsbl.options(config_path(), zones or ())
    ask = check.resolver(nameserver, config_path()).ask
    view = asyncio.run(dnsbl.look(subject, given, ask))
    if as_json:
        output.json(view)
    else:
        output.table(view.lists, none=f"no list is asked about {view.subject}")
        limit = f" of {view.reject_at:g}" if view.reject_at else ""
        typer.echo(f"{view.subject}: score {view.score:g}{limit}{', refused' if view.refused else ''}")
    raise typer.Exit(1 if view.refused else 0)
