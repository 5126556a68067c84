"""`postane domain drift`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postane.admin.domain_drift import Round, Watch
from postane.admin.domain_findings import FindingView, State
from postane.admin.spool import become_owner
from postane.cli import output
from postane.cli.domain_plan import progress
from postane.cli.moment import shown as shown_moment
from postane.cli.site import site
from postane.cli.who import who
from postane.core.errors import UsageError

_COLORS = {
    "open": typer.colors.RED,
    "pending": typer.colors.YELLOW,
    "repaired": typer.colors.GREEN,
    "over": typer.colors.BRIGHT_BLACK,
}


def register(app: typer.Typer) -> None:
    """Adds the verb to the noun `domain`."""
    app.command()(drift)


def drift(
    names: Annotated[list[str] | None, typer.Argument(help="Domains; none: all that are watched.")] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Ask the world now, instead of telling of the last look.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Look, and put back what Postane made.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: say what would be put back.")] = False,
    over: Annotated[bool, typer.Option("--over", help="Also what is right again, for a month.")] = False,
    due: Annotated[
        bool, typer.Option("--due", help="For a timer: look at those whose time has come, repair, tell the operator.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --due: domains that are looked at, at most.")] = 1000,
    as_json: output.Json = False,
) -> None:
    """Show what is not right with hosted domains in the DNS, since when, and what to do; exit 1 if anything is.

    Drift is what was right once and is no more. Without options nobody is asked: the last looks are told of.

    Example: `postane domain drift example.org --look`
    """
    if due and (names or look or repair or dry_run):
        raise UsageError("--due chooses by itself: it goes with --limit and --json alone")
    if dry_run and not repair:
        raise UsageError("--dry-run goes with --repair")
    here = site()
    watch, done = Watch(here), None
    if due:
        become_owner(Path(here.config.state) / "spool")
        done = watch.due(limit)
    elif look or repair:
        with progress("looking") as told:
            done = watch.look(names or None, repair=repair, dry_run=dry_run, who=who(), told=told)
    state = watch.state(names or None, over=over)
    if as_json:
        output.json(_view(state, done))
    else:
        _show(state, done, dry_run=dry_run)
    if state.open or (done is not None and done.failed):
        raise typer.Exit(1)


def _view(state: State, done: Round | None) -> dict[str, object]:
    return {
        "changed": done is not None and bool(done.repaired),
        "open": state.open,
        "watched": state.watched,
        "unlooked": state.unlooked,
        "oldest_look": state.oldest_look,
        "findings": state.findings,
        "round": done,
    }


def _show(state: State, done: Round | None, *, dry_run: bool) -> None:
    if done is not None:
        for line in done.repaired:
            typer.secho(f"{'would put back' if dry_run else 'put back'}: {line}", fg=typer.colors.GREEN)
        for line in done.failed:
            typer.secho(f"failed: {line}", fg=typer.colors.RED, err=True)
    for one in state.findings:
        _line(one)
    if done is not None:
        typer.echo(f"{done.looked} domains looked at, {done.asked} questions, {done.seconds:.1f} s")
    last = "never looked at" if state.oldest_look is None else f"oldest look {shown_moment(state.oldest_look)}"
    left = f", {state.unlooked} not looked at yet" if state.unlooked and state.oldest_look is not None else ""
    typer.echo(f"{state.open or 'nothing'} open; {state.watched} domains watched, {last}{left}")


def _line(one: FindingView) -> None:
    typer.secho(f"{one.domain} {one.kind} since {shown_moment(one.first_seen)}: {one.what}", fg=_COLORS[one.standing])
    if one.standing == "pending":
        typer.echo("    seen too seldom yet to be certain: it is looked at again in ten minutes")
    elif one.standing == "open":
        typer.echo(f"    → {one.todo}")
    elif one.ended_at is not None:
        typer.echo(f"    {'put back' if one.standing == 'repaired' else 'right again'} {shown_moment(one.ended_at)}")
