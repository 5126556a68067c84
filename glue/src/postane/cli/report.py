"""`postane report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import report
from postane.cli import output
from postane.cli.moment import since as moment
from postane.cli.site import site
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The domain.")]
Since = Annotated[str, typer.Option(help="An age (30d) or a date.")]


@app.command("import")
def take_in(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, or - for standard input.")],
    as_json: output.Json = False,
) -> None:
    """Take in reports that other servers have sent: of DMARC (XML) or TLS (JSON), packed or not, or mails with them.

    A report that comes again counts once. Exits 1 if one is refused.

    Example: `postane report import google.com!example.org!1700000000!1700086399.zip`
    """
    contents = [(name, _read(name)) for name in files]
    taken = report.take_in(site(), contents)
    if as_json:
        output.json({"changed": any(one.state == "taken" for one in taken), "items": taken})
    else:
        for one in taken:
            of = f"{one.kind} report of {one.reporter} about {one.domain}" if one.kind else one.why
            typer.echo(f"{one.file}: {one.state}: {of}")
    if any(one.state == "refused" for one in taken):
        raise typer.Exit(1)


@app.command()
def dmarc(name: Name, since: Since = "30d", as_json: output.Json = False) -> None:
    """Show how much of a domain's mail is authentic by others' reports, and from where the rest comes.

    Example: `postane report dmarc example.org --since 14d`
    """
    _show(name, "dmarc", since, as_json)


@app.command()
def tls(name: Name, since: Since = "30d", as_json: output.Json = False) -> None:
    """Show by others' reports how many of their connections to a domain had valid TLS."""
    _show(name, "tls", since, as_json)


def _show(name: str, kind: str, since: str, as_json: bool) -> None:
    found = report.show(site(), name, kind, moment(since))
    if as_json:
        output.json(found)
        return
    total = found.passed + found.failed
    if not total:
        typer.echo(f"{found.domain}: no reports")
        return
    what = "messages authentic" if kind == "dmarc" else "sessions with valid TLS"
    typer.echo(f"{found.domain}: {found.passed / total:.1%} of {total} {what}, in reports of {found.days} days")
    output.table(found.sources, ("source", "passed", "failed", "reporters"))


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read(report.MOST + 1) if name == "-" else report.read_file(Path(name))
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
