"""`postane domain claim`, `verify`, `show`, `advance`, `watch`, `rollback`, `suspend`, `resume` and `leave`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from postane.admin import domain_split
from postane.admin.domain_life import Desk
from postane.admin.domain_stage import LifeView
from postane.cli import output
from postane.cli.moment import shown as shown_moment
from postane.cli.site import site
from postane.cli.who import who
from postane.core.errors import UsageError

Name = Annotated[str, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.")]
NoDns = Annotated[bool, typer.Option("--no-dns", help="Leave the domain's records alone; say what is to do.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, change nothing.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit log.")]

# What the operator does about what a step asks for.
_DEEDS = {
    "publish": "its records: postane domain plan {name}",
    "lower-ttl": "lower the TTL of its MX where its DNS is kept, and advance again once the old one has passed",
    "switch-mx": "its MX: postane domain apply {name} --take mx",
    "restore-mx": "its MX goes back to {old_mx}",
    "dmarc-quarantine": "DMARC may go on: postane domain dns {name} --dmarc quarantine",
    "dmarc-reject": "DMARC may go on: postane domain dns {name} --dmarc reject",
    "mta-sts-enforce": "MTA-STS may go on: postane domain dns {name} --mta-sts enforce",
}


def register(app: typer.Typer) -> None:
    """Adds the verbs to the noun `domain`."""
    for verb in (claim, verify, show, advance, watch, rollback, suspend, resume, leave, split):
        app.command()(verb)


def claim(
    name: Name,
    tenant: Annotated[str, typer.Option(help="Who claims it; made if there is none of that name.")],
    as_json: output.Json = False,
) -> None:
    """Note a tenant's claim to a domain and print what proves it. Until it is proved no mail is taken for it.

    Example: `postane domain claim example.org --tenant bakery`
    """
    done = Desk(site()).claim(name, tenant, who())
    if as_json:
        output.change(done.changed, done.item, "", as_json=True)
    elif done.item.record:
        typer.echo(f"{done.item.shown} is claimed by {done.item.tenant}. Its owner puts this into its DNS:")
        typer.echo(f'{done.item.record_name}. TXT "{done.item.record}"')
        typer.echo(f"Then: postane domain verify {done.item.shown}")
    else:
        typer.echo(f"unchanged: {done.item.shown} is {done.item.state} already")


def verify(
    name: Name,
    tenant: Annotated[str | None, typer.Option(help="Whose claim, if another has the domain.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take it over with the other's accounts and aliases removed.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Look for the proof of a claim at the domain's name servers and by resolvers; exit 1 if it is not there."""
    done = Desk(site()).verify(name, tenant, force=force, who=who())
    _told(done.changed, done.item, as_json=as_json)
    if done.item.state == "claimed":
        raise typer.Exit(1)


def show(
    name: Name,
    look: Annotated[
        bool, typer.Option("--look", help="Ask the world now, instead of telling of the last look.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Show where a domain stands in its life, and what holds it there."""
    desk = Desk(site())
    found = desk.look(name) if look else desk.show(name)
    if as_json:
        output.json(found)
        return
    typer.echo(_line(found))
    people = f"tenant {found.tenant}, {found.accounts} accounts, {found.aliases} aliases"
    if found.elsewhere:
        people += f", {found.elsewhere} addresses still at {', '.join(found.old_mx)}"
    proof = f"proved by {found.proof}" if found.proof else "not proved"
    typer.echo(f"  {people}, {proof}{'' if found.active else ', switched off'}")
    if found.checked_at is not None:
        again = f", next look {shown_moment(found.check_again_at)}" if found.check_again_at else ""
        typer.echo(f"  last look {shown_moment(found.checked_at)}{again}")
    _deeds(found)


def advance(
    name: Name,
    exported: Annotated[
        bool, typer.Option("--exported", help="Of one that leaves: its data has been handed over.")
    ] = False,
    no_dns: NoDns = False,
    dry_run: DryRun = False,
    as_json: output.Json = False,
) -> None:
    """Lead a domain one step on, with the records that the step asks for, if nothing holds it; exit 1 if it stays.

    Where its DNS is one that Postane writes, the MX is made ready in the shadow, and moved at the cutover.

    Example: `postane domain advance example.org --dry-run`
    """
    done = Desk(site()).advance(name, exported=exported, dns=not no_dns, dry_run=dry_run, who=who())
    _told(done.changed, done.item, as_json=as_json, would=dry_run)
    if not done.item.stepped:
        raise typer.Exit(1)


def watch(
    limit: Annotated[int, typer.Option(min=1, help="Domains that are looked at, at most.")] = 500,
    no_dns: NoDns = False,
    dry_run: DryRun = False,
    as_json: output.Json = False,
) -> None:
    """Look at the domains whose time for it has come; lead on those that nothing holds and that need no word.

    For a timer: proofs, passed TTLs, switched MX records and others' reports are seen by it.
    """
    done = Desk(site()).watch(limit, who(), dns=not no_dns, dry_run=dry_run)
    if as_json:
        output.json({"changed": any(one.changed for one in done), "items": [one.item for one in done]})
        return
    for one in done:
        if one.changed or one.item.deeds:
            _told(one.changed, one.item, as_json=False, would=dry_run)
    led = sum(one.item.stepped for one in done)
    typer.echo(f"{led} would be led on" if dry_run else f"{len(done)} looked at, {led} led on")


def rollback(
    name: Name, why: Why = "", no_dns: NoDns = False, dry_run: DryRun = False, as_json: output.Json = False
) -> None:
    """Take a domain one step back; from the cutover with the MX of before. Exit 1 if its DNS does not take it."""
    done = Desk(site()).rollback(name, who(), why, dns=not no_dns, dry_run=dry_run)
    _told(done.changed, done.item, as_json=as_json, would=dry_run)
    if not done.item.stepped:
        raise typer.Exit(1)


def suspend(
    name: Name,
    refusal: Annotated[str, typer.Option("--refusal", help="4xx: try again later; 5xx: no.")] = "4xx",
    why: Why = "",
    as_json: output.Json = False,
) -> None:
    """Take no mail for a domain and let none of its people in, until it is resumed."""
    done = Desk(site()).suspend(name, refusal, who(), why)
    _told(done.changed, done.item, as_json=as_json)


def resume(name: Name, why: Why = "", as_json: output.Json = False) -> None:
    """Undo `suspend`: the domain is where it was before."""
    done = Desk(site()).resume(name, who(), why)
    _told(done.changed, done.item, as_json=as_json)


def leave(name: Name, why: Why = "", as_json: output.Json = False) -> None:
    """Let a domain go: its mail is taken until its new MX is seen; `rollback` undoes it."""
    done = Desk(site()).leave(name, who(), why)
    _told(done.changed, done.item, as_json=as_json)


def split(
    name: Name,
    add: Annotated[list[str] | None, typer.Option(help="An address that is still at the old host; repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="One that is not any more; repeatable.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file of addresses to add, one a line.")] = None,
    as_json: output.Json = False,
) -> None:
    """Say which mailboxes of a domain are still at the host that it comes from; without options, show them.

    Their mail is taken here, whoever sends it, and goes on to that host. `account add` takes an address off the list.

    Example: `postane domain split example.org --file not-moved-yet.txt`
    """
    more = [line.strip() for line in _lines(file) if line.strip() and not line.startswith("#")]
    done = domain_split.change(site(), name, [*(add or ()), *more], remove or (), who())
    if as_json:
        output.change(done.changed, done.item, "", as_json=True)
        return
    hosts = ", ".join(done.item.hosts) or "a host that is not known"
    typer.echo(f"{done.item.domain}: {len(done.item.addresses)} addresses at {hosts}")
    for address in done.item.addresses:
        typer.echo(f"  {address}")


def _lines(file: Path | None) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines() if file is not None else []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error


def _told(changed: bool, view: LifeView, *, as_json: bool, would: bool = False) -> None:
    if as_json:
        output.change(changed, view, "", as_json=True)
        return
    typer.echo(f"{'' if changed else 'unchanged: '}{'would be: ' if would and changed else ''}{_line(view)}")
    _deeds(view)


def _line(view: LifeView) -> str:
    """The state, and what holds it there."""
    state = f"{view.state} ({view.refusal})" if view.state == "suspended" else view.state
    since = shown_moment(view.state_since)[:10]
    return f"{view.shown}: {state} since {since}: {view.holds or 'not looked at yet'}"


def _deeds(view: LifeView) -> None:
    """What was done at its DNS, and what is left to a person."""
    for deed in view.deeds:
        for record in deed.removed:
            typer.secho(f"  - {record}", fg=typer.colors.RED)
        for record in deed.added:
            typer.secho(f"  + {record}", fg=typer.colors.GREEN)
        typer.echo(
            f"  {deed.zone} ({deed.target or 'no target'}): {deed.state}{f': {deed.error}' if deed.error else ''}"
        )
        for reason in deed.left:
            typer.echo(f"  left to you: {reason}")
        if deed.state == "manual" and deed.added:
            take = " --take mx" if "switch-mx" in view.actions else ""
            typer.echo(f"  by hand: postane domain letter {view.shown}{take}")
    if view.deeds:
        return
    for action in view.actions:
        if words := _DEEDS.get(action):
            typer.echo(f"  to do: {words.format(name=view.shown, old_mx=', '.join(view.old_mx) or 'where it was')}")
