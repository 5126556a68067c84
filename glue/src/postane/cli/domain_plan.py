"""`postane domain plan`, `apply`, `letter` and `dns`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import domain_facts, domain_plan
from postane.admin.domain_plan import Applied, Planned, Told
from postane.cli import output
from postane.cli.site import site
from postane.core.errors import NotFoundError, UsageError
from postane.dns.records import zone_file
from postane.domains.letter import LANGUAGES, letter, value_of
from postane.domains.plan import Action, Line, Plan

_COLORS = {
    Action.KEEP: typer.colors.BRIGHT_BLACK,
    Action.ADD: typer.colors.GREEN,
    Action.CHANGE: typer.colors.YELLOW,
    Action.REMOVE: typer.colors.RED,
    Action.CONFLICT: typer.colors.MAGENTA,
    Action.TOLD: typer.colors.CYAN,
}
_SIGNS = {
    Action.KEEP: " ",
    Action.ADD: "+",
    Action.CHANGE: "~",
    Action.REMOVE: "-",
    Action.CONFLICT: "!",
    Action.TOLD: "i",
}
_EVERY = 100  # domains between two plain lines of progress

Names = Annotated[list[str] | None, typer.Argument(help="Domains, as letters (müze.example) or as A-labels.")]
All = Annotated[bool, typer.Option("--all", help="All hosted domains that are on.")]
Take = Annotated[
    list[str] | None,
    typer.Option(help="A kind of record of which those that others made are replaced (mx at the cutover); repeatable."),
]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the noun `domain`."""
    app.command()(plan)
    app.command()(apply)
    app.command("letter")(write_letter)
    app.command("dns")(dns)


def plan(
    names: Names = None,
    everything: All = False,
    take: Take = None,
    out: Annotated[Path | None, typer.Option(help="Write the plans to this file, for `domain apply FILE`.")] = None,
    as_json: output.Json = False,
) -> None:
    """Show the records that domains should have beside those that stand there, each with its reason.

    Exits 1 where something is left to the operator.

    Example: `postane domain plan example.org --out example.plan`
    """
    chosen = _chosen(names, everything)
    kinds = domain_plan.kinds(take or ())
    with progress("looking") as told:
        found = domain_plan.plan(site(), chosen, take=kinds, told=told)
    if out is not None:
        out.write_bytes(domain_plan.to_file(found))
    if as_json:
        output.json([plan_view(one) for one in found])
    else:
        show(found, short=len(found) > 1)
    leave([one.error for one in found], any(one.plan is not None and one.plan.of(Action.CONFLICT) for one in found))


def apply(
    names: Annotated[
        list[str] | None, typer.Argument(help="Domains, or a file that `domain plan --out` wrote.")
    ] = None,
    everything: All = False,
    take: Take = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")] = False,
    as_json: output.Json = False,
) -> None:
    """Put in, change and take out what a plan says, and nothing else; run again, it heals what was half done.

    Exits 1 where something is left to the operator.

    Example: `postane domain apply example.org --dry-run`
    """
    here = site()
    file = _plan_file(names)
    if file is not None:
        if take:
            raise UsageError("--take is for plans that are made now: a file says already what is taken")
        with progress("changing") as told:
            done = domain_plan.apply_file(here, file, dry_run=dry_run, told=told)
    else:
        chosen = _chosen(names, everything)
        with progress("looking") as told:
            found = domain_plan.plan(here, chosen, take=domain_plan.kinds(take or ()), told=told)
        if dry_run:
            done = [domain_plan.would(one) for one in found]
        else:
            with progress("changing") as told:
                done = domain_plan.apply(here, found, told=told)
    if as_json:
        output.json([_applied_view(one) for one in done])
    else:
        for one in done:
            _tell(one)
    leave([one.error for one in done], any(one.conflicts or one.state == "manual" for one in done))


def write_letter(
    name: Annotated[str, typer.Argument(help="The domain.")],
    language: Annotated[str, typer.Option(help=f"One of {', '.join(LANGUAGES)}.")] = "en",
    zone: Annotated[bool, typer.Option("--zone", help="The records as a zone file instead.")] = False,
    take: Take = None,
) -> None:
    """Write one page to whoever keeps a domain's DNS: what to add, change and remove.

    Example: `postane domain letter example.org --language tr`
    """
    if language not in LANGUAGES:
        raise UsageError(f"--language: {language!r} is none of {', '.join(LANGUAGES)}")
    here = site()
    found = domain_plan.plan(here, [name], take=domain_plan.kinds(take or ()))[0]
    if found.plan is None:
        raise found.error or NotFoundError(name)
    if zone:
        typer.echo(zone_file(line.record for line in found.plan.of(*_STANDING) if line.record), nl=False)
    else:
        typer.echo(
            letter(found.plan, here.config.host, here.config.clients.provider or here.config.host, language), nl=False
        )


_STANDING = (Action.KEEP, Action.ADD, Action.CHANGE)


def dns(
    name: Annotated[str, typer.Argument(help="The domain.")],
    target: Annotated[str | None, typer.Option(help="Where its records are put (dns.targets); '' by default.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A kind of record that Postane keeps for it; repeatable; '' by default.")
    ] = None,
    spf: Annotated[str | None, typer.Option(help="mx, a, ip or include:NAME.")] = None,
    dmarc: Annotated[str | None, typer.Option(help="none, quarantine or reject.")] = None,
    mta_sts: Annotated[str | None, typer.Option(help="off, none, testing or enforce.")] = None,
    delegation: Annotated[str | None, typer.Option(help="Zone that its CNAMEs lead into.")] = None,
    ttl: Annotated[int | None, typer.Option(help="TTL of its records, seconds; 0 by default.")] = None,
    repair: Annotated[str | None, typer.Option(help="on or off: put back what is taken away; '' by default.")] = None,
    as_json: output.Json = False,
) -> None:
    """Say what one domain wants of its own in the DNS; without options, show it.

    Example: `postane domain dns example.org --target far --spf ip`
    """
    said = {"spf": spf, "dmarc": dmarc, "mta_sts": mta_sts, "delegation": delegation, "ttl": ttl, "repair": repair}
    kinds = None if keep is None else [one for one in keep if one]
    done = domain_facts.change(site(), name, target, kinds, {k: v for k, v in said.items() if v is not None})
    view = done.item
    own = ", ".join(f"{key} {value}" for key, value in _own(view).items()) or "nothing of its own"
    output.change(done.changed, view, f"{view.domain}: {own}", as_json=as_json)
    if done.changed and mta_sts is not None and not as_json:
        typer.echo(_POLICY.get(mta_sts, _POLICY[""]).format(name=view.domain))


_POLICY = {
    "": "the policy is served from now on; its new id is put in by: postane domain apply {name}",
    "off": "senders keep the policy that they have until its max_age is over: say none first, and off after that",
}


def _own(view: domain_facts.DomainDns) -> dict[str, str]:
    import msgspec

    found = {"target": view.target, "kinds": " ".join(view.kinds)}
    found |= {key: str(value) for key, value in msgspec.to_builtins(view.settings).items()}
    return {key: value for key, value in found.items() if value}


def _chosen(names: list[str] | None, everything: bool) -> list[str] | None:
    if bool(names) == everything:
        raise UsageError("name the domains, or say --all")
    return None if everything else names


def _plan_file(names: list[str] | None) -> bytes | None:
    """The content of a file of plans; a zone file that happens to be named as a domain is none."""
    if not names or len(names) != 1 or not Path(names[0]).is_file():
        return None
    content = Path(names[0]).read_bytes()
    return content if content.startswith(b"{") else None


def show(found: Sequence[Planned], *, short: bool) -> None:
    """With many domains, what stands as it should is only counted, and what is told of all is told once."""
    told: set[str] = set()
    for one in found:
        if one.plan is None:
            typer.secho(f"{one.domain}: {one.error}", fg=typer.colors.RED)
            if one.error is not None and one.error.hint:
                typer.echo(f"    → {one.error.hint}")
            continue
        place = one.plan.target if one.plan.zone in (one.domain, "") else f"{one.plan.target}, zone {one.plan.zone}"
        typer.secho(f"{one.domain} ({place}): {one.plan}", bold=True)
        for line in one.plan.lines:
            if short and line.action is Action.KEEP:
                continue
            if line.action is Action.TOLD and line.reason in told:
                continue
            told.add(line.reason)
            _show_line(line)


def _show_line(line: Line) -> None:
    sign, color = _SIGNS[line.action], _COLORS[line.action]
    if line.action in (Action.CHANGE, Action.REMOVE, Action.CONFLICT):
        for old in line.replaces:
            mark = "-" if line.action is not Action.CONFLICT else "!"
            typer.secho(f"{mark} {old.name} {old.type} {value_of(old)}", fg=typer.colors.RED)
    record = line.record
    if record is not None and line.action is not Action.TOLD:
        mark = "+" if line.action is Action.CHANGE else sign
        typer.secho(f"{mark} {record.name} {record.type} {value_of(record)}", fg=color)
    label = f"{line.kind}: " if line.kind else ""
    typer.secho(f"    {label if record is not None or line.kind else ''}{line.reason}", dim=line.action is Action.KEEP)
    for note in line.notes:
        typer.secho(f"    ({note})", dim=True)
    for way in line.ways_out:
        typer.secho(f"    → {way}", fg=color)


def _tell(one: Applied) -> None:
    if one.error is not None:
        typer.secho(f"{one.domain}: {one.error}", fg=typer.colors.RED, err=True)
        if one.error.hint:
            typer.echo(f"  hint: {one.error.hint}", err=True)
        return
    left = f"; {one.conflicts} left to you: postane domain plan {one.domain}" if one.conflicts else ""
    if one.state == "manual":
        left = f": its records are put in by hand: postane domain letter {one.domain}{left}"
        typer.echo(f"{one.domain}{left}")
        return
    if one.plan:
        for old in one.plan.remove:
            typer.secho(f"- {old}", fg=typer.colors.RED)
        for new in one.plan.add:
            typer.secho(f"+ {new}", fg=typer.colors.GREEN)
    typer.echo(f"{one.domain}: {one.state}{left}")


def plan_view(one: Planned) -> dict[str, object]:
    """For JSON."""
    plan: Plan | None = one.plan
    return {
        "domain": one.domain,
        "error": str(one.error) if one.error else "",
        "changes": plan is not None and plan.changes,
        "conflicts": len(plan.of(Action.CONFLICT)) if plan else 0,
        "plan": plan,
    }


def _applied_view(one: Applied) -> dict[str, object]:
    plan = one.plan
    return {
        "domain": one.domain,
        "state": one.state,
        "changed": one.state == "done",
        "added": plan.add if plan else (),
        "removed": plan.remove if plan else (),
        "conflicts": one.conflicts,
        "left": [line.reason for line in plan.of(Action.CONFLICT)] if plan else (),
        "error": str(one.error) if one.error else "",
    }


def leave(errors: Iterable[Exception | None], left: bool) -> None:
    """Ends the command by how it went."""
    codes = [getattr(error, "exit_code", 70) for error in errors if error is not None]
    if codes:
        raise typer.Exit(codes[0])
    if left:
        raise typer.Exit(1)


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """A bar on a terminal, a line now and then elsewhere; on standard error, so that output stays clean."""
    if not sys.stderr.isatty():

        def line(done: int, of: int) -> None:
            if of > _EVERY and (done % _EVERY == 0 or done == of):
                typer.echo(f"{what}: {done} of {of} domains", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        show: Callable[[int, int], None] = lambda done, of: bar.update(task, completed=done, total=of)  # noqa: E731
        yield show
