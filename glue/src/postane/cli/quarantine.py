"""`postane quarantine`: suspect mail that is kept apart, who it was for, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from postane.admin import quarantine
from postane.cli import output
from postane.cli.moment import since as moment
from postane.cli.site import config_path
from postane.cli.who import who
from postane.core.errors import UsageError

if TYPE_CHECKING:
    from postane.config.model import Config

app = typer.Typer(no_args_is_help=True)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Numbers or spool ids; none: see the options.")
]
Account = Annotated[str, typer.Option("--account", help="The mailbox that it was meant for.")]
Domain = Annotated[str, typer.Option("--domain", help="The domain of that mailbox.")]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant whose mail it is.")]
Reason = Annotated[str, typer.Option("--reason", help="Part of the reason, or a filter's name.")]
Since = Annotated[
    str, typer.Option("--since", metavar="TIME", help="Received since: 2h, 3d, 2026-05-01, 2026-05-01T12:00.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")]
All = Annotated[bool, typer.Option("--all", help="Really every message.")]


@dataclass(frozen=True, slots=True)
class Row:
    """A message as one line."""

    id: int
    received: str
    size: str
    state: str
    mailbox: str
    sender: str
    subject: str
    score: str
    reason: str


@app.command("list")
def every(
    account: Account = "",
    domain: Domain = "",
    tenant: Tenant = "",
    reason: Reason = "",
    since: Since = "",
    state: Annotated[
        Literal["held", "released", "deleted", "any"], typer.Option("--state", help="What became of it.")
    ] = "held",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Messages shown at most.")] = 1000,
    as_json: output.Json = False,
) -> None:
    """List what is in quarantine, oldest first.

    Example: `postane quarantine list --domain example.org --since 2d`
    """
    wanted = quarantine.selection(
        account=account,
        domain=domain,
        tenant=tenant,
        reason=reason,
        since=moment(since),
        state="" if state == "any" else state,
    )
    found = quarantine.every(_config(), wanted, limit)
    if as_json:
        output.json(found.items)
        return
    output.table([_row(item) for item in found.items], none="the quarantine is empty")
    if found.count > len(found.items):
        typer.echo(f"{found.count - len(found.items)} more; see --limit", err=True)


@app.command()
def show(item_id: Annotated[str, typer.Argument(metavar="ID")], as_json: output.Json = False) -> None:
    """Show one message: why it is here, its headers, and the beginning of its text as plain words."""
    found = quarantine.show(_config(), item_id)
    if as_json:
        output.json(found)
        return
    item = found.item
    typer.echo(f"{item.id}  {_octets(item.size)}  for {item.mailbox}  ({item.state})")
    typer.echo(f"spool id {item.spool_id}")
    if item.tenant:
        typer.echo(f"tenant   {item.tenant}")
    typer.echo(f"received {_clock(item.received_at)} from {item.sender or '<>'} at {item.client_ip or 'this host'}")
    by = f"{item.filter}, " if item.filter else ""
    typer.echo(f"why      {item.reason or 'unknown'} ({by}score {item.score:g})")
    if item.state != "held":
        typer.echo(f"{item.state:8} {_clock(item.changed_at)} by {item.changed_by}")
    if item.learned:
        typer.echo(f"learned  as {item.learned}")
    if found.trouble:
        typer.echo(f"\n({found.trouble})")
        return
    typer.echo(f"\n{found.headers}\n")
    if found.attachments:
        typer.echo(f"attachments: {', '.join(found.attachments)}\n")
    typer.echo(found.preview or "(no text to show)")


@app.command()
def release(
    ids: Ids = None,
    account: Account = "",
    domain: Domain = "",
    tenant: Tenant = "",
    reason: Reason = "",
    since: Since = "",
    every_one: All = False,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="To this address instead.")] = "",
    learn: Annotated[bool, typer.Option("--learn", help="And teach Rspamd that it is no spam.")] = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Deliver messages to the mailbox they were meant for, past the filters; each once.

    Example: `postane quarantine release 17 --learn`
    """
    wanted = _selection(ids, account, domain, tenant, reason, since, every_one)
    done = quarantine.release(_config(), wanted, by=who(), to=to, dry_run=dry_run, teach=learn)
    _tell(done, "released", dry_run, as_json)


@app.command()
def delete(
    ids: Ids = None,
    account: Account = "",
    domain: Domain = "",
    tenant: Tenant = "",
    reason: Reason = "",
    since: Since = "",
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Delete messages; `restore` brings them back for some days.

    Example: `postane quarantine delete --account ayse@example.org --reason DMARC --dry-run`
    """
    wanted = _selection(ids, account, domain, tenant, reason, since, every_one)
    done = quarantine.delete(_config(), wanted, by=who(), now=time.time, dry_run=dry_run)
    _tell(done, "deleted", dry_run, as_json)


@app.command()
def restore(
    ids: Ids = None,
    account: Account = "",
    domain: Domain = "",
    tenant: Tenant = "",
    reason: Reason = "",
    since: Since = "",
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Bring back what was deleted, as long as it is still there."""
    wanted = _selection(ids, account, domain, tenant, reason, since, every_one)
    done = quarantine.restore(_config(), wanted, by=who(), now=time.time, dry_run=dry_run)
    _tell(done, "restored", dry_run, as_json)


@app.command()
def learn(
    ids: Ids = None,
    account: Account = "",
    domain: Domain = "",
    tenant: Tenant = "",
    reason: Reason = "",
    since: Since = "",
    every_one: All = False,
    ham: Annotated[bool | None, typer.Option("--ham/--spam", help="What the messages are.")] = None,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Teach Rspamd what messages are; they stay where they are.

    Example: `postane quarantine learn 17 --spam`
    """
    if ham is None:
        raise UsageError("say what they are: --ham or --spam")
    wanted = _selection(ids, account, domain, tenant, reason, since, every_one)
    kind: quarantine.Kind = "ham" if ham else "spam"
    _tell(quarantine.teach(_config(), wanted, kind, dry_run=dry_run), f"learned as {kind}", dry_run, as_json)


@app.command()
def digest(account: Account = "", dry_run: Dry = False, as_json: output.Json = False) -> None:
    """Tell owners now of what is new to them, without waiting for the hour of the digests."""
    sent = quarantine.digest(_config(), account, dry_run=dry_run)
    if as_json:
        output.json(sent)
        return
    for view in sent:
        typer.echo(f"{view.mailbox}: {view.messages}")
    noun = "digest" if len(sent) == 1 else "digests"
    typer.echo(f"{len(sent)} {noun} {'would be ' if dry_run else ''}sent")


@app.command()
def sweep(dry_run: Dry = False, as_json: output.Json = False) -> None:
    """Forget now what is too old, or was released or deleted some days ago; it happens every hour by itself."""
    count = quarantine.sweep(_config(), dry_run=dry_run)
    if as_json:
        output.json({"changed": 0 if dry_run else count, "count": count})
        return
    typer.echo(f"{count} {'message' if count == 1 else 'messages'} {'would be ' if dry_run else ''}forgotten")


def _tell(done: quarantine.Done, what: str, dry_run: bool, as_json: bool) -> None:
    """Exits 75 if a part was not done."""
    if as_json:
        output.json(
            {
                "changed": 0 if dry_run else done.count,
                "count": done.count,
                "items": done.items,
                "failed": done.failed,
            }
        )
    else:
        if dry_run:
            output.table([_row(item) for item in done.items], none="no message is meant")
        noun = "message" if done.count == 1 else "messages"
        typer.echo(f"{done.count} {noun} {'would be ' if dry_run else ''}{what}")
        for said in done.failed:
            typer.echo(f"postane: {said}", err=True)
    if done.failed:
        raise typer.Exit(75)


def _selection(
    ids: Sequence[str] | None, account: str, domain: str, tenant: str, reason: str, since: str, every_one: bool
) -> quarantine.Selection:
    """Raises UsageError where nothing says which messages are meant."""
    named = bool(ids or account or domain or tenant or reason or since)
    if not every_one and not named:
        raise UsageError("no message is named", hint="give ids, options such as --account or --since, or --all")
    if every_one and named:
        raise UsageError("--all and other choices exclude each other")
    return quarantine.selection(
        tuple(ids or ()), account=account, domain=domain, tenant=tenant, reason=reason, since=moment(since)
    )


def _config() -> Config:
    from postane.config.load import load

    return load(config_path())


def _row(item: quarantine.Item) -> Row:
    return Row(
        item.id,
        _clock(item.received_at),
        _octets(item.size),
        item.state,
        item.mailbox,
        item.author or item.sender or "<>",
        item.subject,
        f"{item.score:g}",
        item.reason,
    )


def _octets(size: float) -> str:
    for unit in ("B", "KiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} MiB"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
