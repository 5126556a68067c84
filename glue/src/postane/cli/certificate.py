"""`postane certificate`: what certificates hosted domains have, what is due, and asking for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from postane.cli import output
from postane.cli.certificate_host import host
from postane.cli.moment import shown as shown_moment
from postane.cli.site import site

if TYPE_CHECKING:
    from postane.admin.certificates import Done

app = typer.Typer(no_args_is_help=True)
app.command()(host)

Names = Annotated[list[str] | None, typer.Argument(help="Domains; without any, all.")]

_EVERY = 25  # orders between two lines of progress where nobody looks
_COLORS = {"issued": typer.colors.GREEN, "failed": typer.colors.RED, "waits": typer.colors.YELLOW}


@dataclass(frozen=True, slots=True)
class Line:
    """A certificate as one line."""

    domain: str
    state: str
    names: tuple[str, ...]
    ends: str
    next: str
    why: str


@app.command("list")
def list_(
    troubled: Annotated[bool, typer.Option("--troubled", help="Only those that are not good.")] = False,
    as_json: output.Json = False,
) -> None:
    """List the hosted domains with their certificates; exit 1 if one is failing, ending or ended.

    Example: `postane certificate list --troubled`
    """
    from postane.admin import certificates

    rows = [row for row in certificates.listed(site()) if not troubled or row.state != "good"]
    if as_json:
        output.json(rows)
    else:
        lines = [
            Line(row.domain, row.state, row.names, _days(row.ends), _moment(row.next), row.why[:100]) for row in rows
        ]
        output.table(lines, none="nothing" if troubled else "no domain is hosted")
    if any(row.state in ("failing", "ending", "ended") for row in rows):
        raise typer.Exit(1)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The domain.")],
    as_json: output.Json = False,
) -> None:
    """Show one domain's certificate: its names, its life, what is left out and why, when it is renewed.

    Example: `postane certificate show example.org`
    """
    from postane.admin import certificates

    found = certificates.shown(site(), name)
    if as_json:
        output.json(found)
        return
    row = found.row
    typer.echo(f"{row.domain}: {row.state}{f' ({row.why})' if row.why and row.state != 'good' else ''}")
    if found.serial:
        typer.echo(f"  names    {' '.join(found.certified)}")
        typer.echo(f"  serves   {' '.join(row.names)}")
        typer.echo(f"  issuer   {row.issuer}, serial {found.serial}")
        typer.echo(f"  valid    {_moment(found.begins)} to {_moment(row.ends)} ({_days(row.ends)})")
        typer.echo(f"  files    {found.folder}")
    if found.advice:
        typer.echo(f"  advice   renew between {_moment(found.advice[0])} and {_moment(found.advice[1])}")
    typer.echo(f"  next     {_moment(row.next)}{f', after {found.failures} failures' if found.failures else ''}")
    for left_out, why in sorted(found.left_out.items()):
        typer.echo(f"  without  {left_out}: {why}")


@app.command()
def plan(
    names: Names = None,
    staging: Annotated[bool, typer.Option("--staging", help="As for the trial authority.")] = False,
    as_json: output.Json = False,
) -> None:
    """Say what `renew` would do: the domains that are due, with the names of each, and why others are left out.

    Example: `postane certificate plan`
    """
    _report(_run(names, dry_run=True, staging=staging), as_json=as_json, everything=bool(names))


@app.command()
def renew(
    names: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    staging: Annotated[
        bool, typer.Option("--staging", help="Ask the trial authority, and put nothing in place.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Ask for all certificates that are due; with names, for those now, due or not. A timer does it every hour.

    What is in place stays until a new certificate is whole. Exit 1 if a domain got none, 75 while another run is at
    work.

    Example: `postane certificate renew example.org --staging`
    """
    done = _run(names, dry_run=dry_run, staging=staging)
    _report(done, as_json=as_json, everything=bool(names))
    errors = [one.error for one in done if one.error is not None]
    if errors:
        codes = {error.exit_code for error in errors}
        raise typer.Exit(codes.pop() if len(codes) == 1 and codes & {69, 78} else 1)


def _run(names: list[str] | None, *, dry_run: bool, staging: bool) -> list[Done]:
    from postane.admin import certificates

    with _progress() as told:
        return certificates.renew(site(), names or None, dry_run=dry_run, staging=staging, told=told)


def _report(done: Sequence[Done], *, as_json: bool, everything: bool) -> None:
    if as_json:
        output.json([_view(one) for one in done])
        return
    shown = [one for one in done if everything or one.state not in ("good", "none")]
    for one in shown:
        typer.secho(_words(one), fg=_COLORS.get(one.state), err=one.state == "failed")
        for name, why in sorted(one.left_out.items()):
            typer.secho(f"  without {name}: {why}", dim=True)
        if one.error is not None and one.error.hint:
            typer.echo(f"  hint: {one.error.hint}", err=True)
    good = sum(one.state == "good" for one in done)
    none = sum(one.state == "none" for one in done)
    typer.echo(f"{len(shown)} of {len(done)} told; {good} good, {none} without a name that leads here")


def _words(one: Done) -> str:
    names = f" {' '.join(one.names)}" if one.names else ""
    until = f", looked at again {_moment(one.at)}" if one.at else ""
    reason = f" ({one.reason})" if one.reason else ""
    return f"{one.domain}: {one.state}{reason}{names}{f': {one.why}' if one.why else ''}{until}"


def _view(one: Done) -> dict[str, object]:
    return {
        "domain": one.domain,
        "state": one.state,
        "changed": one.state == "issued",
        "reason": one.reason,
        "names": one.names,
        "left_out": one.left_out,
        "at": one.at,
        "why": one.why,
    }


def _moment(at: float) -> str:
    return shown_moment(at) if at else "-"


def _days(at: float) -> str:
    return f"{(at - time.time()) / 86_400:.1f} days" if at else "-"


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere; on standard error, so that output stays clean."""
    if not sys.stderr.isatty():

        def line(done: int, of: int) -> None:
            if of > _EVERY and (done % _EVERY == 0 or done == of):
                typer.echo(f"orders: {done} of {of}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("orders", total=None)
        show: Callable[[int, int], None] = lambda done, of: bar.update(task, completed=done, total=of)  # noqa: E731
        yield show
