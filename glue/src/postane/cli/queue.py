"""`postane queue`: what waits, why, and what to do about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import queue
from postane.cli import output
from postane.cli.queue_check import check
from postane.cli.site import config_path
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)
app.command()(check)

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Message ids; none: what the options name.")]
Sender = Annotated[str, typer.Option("--sender", help="Part of the sender's address; '<>' for bounces.")]
To = Annotated[str, typer.Option("--recipient", help="Part of a recipient's address.")]
Domain = Annotated[str, typer.Option("--domain", help="Domain of the sender or of a recipient.")]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant whose mail it is.")]
Destination = Annotated[str, typer.Option("--destination", help="Where it goes: local, or a domain.")]
Reason = Annotated[str, typer.Option("--reason", help="Part of the last answer, such as 'greylist'.")]
Older = Annotated[str, typer.Option("--older", metavar="AGE", help="At least this old: 15m, 2h, 3d.")]
Held = Annotated[bool | None, typer.Option("--held/--not-held", help="Only what is held, or is not.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")]
All = Annotated[bool, typer.Option("--all", help="Really every message.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Messages shown at most.")]


@dataclass(frozen=True, slots=True)
class Row:
    """A message as one line."""

    id: str
    age: str
    size: str
    state: str
    sender: str
    recipients: str
    reason: str


@app.command("list")
def every(
    sender: Sender = "",
    recipient: To = "",
    domain: Domain = "",
    tenant: Tenant = "",
    destination: Destination = "",
    reason: Reason = "",
    older: Older = "",
    held: Held = None,
    limit: Limit = 1000,
    as_json: output.Json = False,
) -> None:
    """List what waits, oldest first, with the last answer of the other side.

    Example: `postane queue list --domain example.org --older 2h`
    """
    wanted = _filter(None, sender, recipient, domain, tenant, destination, reason, older, held)
    answer = queue.every(_runtime(), wanted, limit)
    if as_json:
        output.json(answer.messages)
        return
    output.table([_row(message) for message in answer.messages], none="the queue is empty")
    if answer.count > len(answer.messages):
        typer.echo(f"{answer.count - len(answer.messages)} more; see --limit", err=True)


@app.command()
def show(message_id: Annotated[str, typer.Argument(metavar="ID")], as_json: output.Json = False) -> None:
    """Show one message: each recipient with its state, and the headers."""
    message = queue.show(_runtime(), message_id)
    if as_json:
        output.json(message)
        return
    typer.echo(f"{message.id}  {_octets(message.size)}  from {message.sender or '<>'}")
    if message.tenant:
        typer.echo(f"tenant   {message.tenant}")
    typer.echo(f"received {_clock(message.received_at)}, {_span(message.age)} ago")
    typer.echo(f"expires  {_clock(message.expires_at)}{'  (held)' if message.held else ''}")
    for recipient in message.recipients:
        original = f" (was {recipient.original})" if recipient.original not in ("", recipient.address) else ""
        attempts = "1 attempt" if recipient.attempts == 1 else f"{recipient.attempts} attempts"
        typer.echo(f"to {recipient.address}{original}: {recipient.state}, {attempts}")
        if recipient.next_attempt:
            typer.echo(f"   next attempt {_clock(recipient.next_attempt)}")
        if recipient.reply:
            typer.echo(f"   {recipient.remote + ' said: ' if recipient.remote else ''}{recipient.reply}")
    typer.echo("\n" + message.headers.replace("\r\n", "\n"))


@app.command()
def hold(
    ids: Ids = None,
    sender: Sender = "",
    recipient: To = "",
    domain: Domain = "",
    tenant: Tenant = "",
    destination: Destination = "",
    reason: Reason = "",
    older: Older = "",
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Keep messages from being tried until `release`.

    Example: `postane queue hold --sender spammer@example.org --dry-run`
    """
    wanted = _filter(ids, sender, recipient, domain, tenant, destination, reason, older, None, every_one=every_one)
    _steer("hold", "held", wanted, dry_run, as_json)


@app.command()
def release(
    ids: Ids = None,
    sender: Sender = "",
    recipient: To = "",
    domain: Domain = "",
    tenant: Tenant = "",
    destination: Destination = "",
    reason: Reason = "",
    older: Older = "",
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Let held messages go on; they are tried at once."""
    wanted = _filter(ids, sender, recipient, domain, tenant, destination, reason, older, True, every_one=every_one)
    _steer("release", "released", wanted, dry_run, as_json)


@app.command()
def retry(
    ids: Ids = None,
    sender: Sender = "",
    recipient: To = "",
    domain: Domain = "",
    tenant: Tenant = "",
    destination: Destination = "",
    reason: Reason = "",
    older: Older = "",
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Try now what waits for its time; held messages stay held.

    Example: `postane queue retry --destination example.net`
    """
    wanted = _filter(ids, sender, recipient, domain, tenant, destination, reason, older, False, every_one=every_one)
    _steer("retry", "tried now", wanted, dry_run, as_json)


@app.command()
def drop(
    ids: Ids = None,
    sender: Sender = "",
    recipient: To = "",
    domain: Domain = "",
    tenant: Tenant = "",
    destination: Destination = "",
    reason: Reason = "",
    older: Older = "",
    held: Held = None,
    every_one: All = False,
    dry_run: Dry = False,
    as_json: output.Json = False,
) -> None:
    """Forget messages for ever; nobody is told. See what it would take with --dry-run first.

    Example: `postane queue drop --sender spammer@example.org --older 1d`
    """
    wanted = _filter(ids, sender, recipient, domain, tenant, destination, reason, older, held, every_one=every_one)
    _steer("drop", "dropped", wanted, dry_run, as_json)


@app.command()
def stats(
    domain: Domain = "", tenant: Tenant = "", destination: Destination = "", as_json: output.Json = False
) -> None:
    """Count what waits, and name the destinations that do not answer."""
    found = queue.stats(_runtime(), queue.Filter(domain=domain, tenant=tenant, destination=destination))
    if as_json:
        output.json(found)
        return
    typer.echo(f"{found.messages} messages, {_octets(found.octets)}, the oldest {_span(found.oldest_age)} old")
    typer.echo(f"{found.running} under way, {found.held} held")
    for state, count in sorted(found.deliveries.items()):
        typer.echo(f"  {state}: {count}")
    for name, count in found.destinations.items():
        typer.echo(f"  to {name}: {count}")
    for closed in found.closed:
        wait = _span(max(0.0, closed.next_trial - time.time()))
        trials = "1 trial" if closed.failures == 1 else f"{closed.failures} trials"
        what = f"no answer from {closed.name} after {trials}" if closed.failures else f"{closed.name} wants a pause"
        typer.echo(f"{what}, the next trial in {wait}: {closed.reply}")


def _steer(do: queue.Change, done: str, wanted: queue.Filter, dry_run: bool, as_json: bool) -> None:
    answer = queue.steer(_runtime(), do, wanted, dry_run=dry_run)
    if as_json:
        output.json({"changed": 0 if dry_run else answer.count, "count": answer.count, "messages": answer.messages})
        return
    if dry_run:
        output.table([_row(message) for message in answer.messages], none="no message is meant")
    noun = "message" if answer.count == 1 else "messages"
    typer.echo(f"{answer.count} {noun} {'would be ' if dry_run else ''}{done}")


def _filter(
    ids: Sequence[str] | None,
    sender: str,
    recipient: str,
    domain: str,
    tenant: str,
    destination: str,
    reason: str,
    older: str,
    held: bool | None,
    *,
    every_one: bool | None = None,
) -> queue.Filter:
    """`every_one` None: a verb that only shows. Raises UsageError where nothing says which messages are meant."""
    named = bool(ids or sender or recipient or domain or tenant or destination or reason or older)
    if every_one is False and not named:
        raise UsageError("no message is named", hint="give ids, options such as --domain or --older, or --all")
    if every_one and named:
        raise UsageError("--all and other choices exclude each other")
    age = queue.parse_age(older) if older else 0.0
    return queue.Filter(
        ids=tuple(ids or ()),
        tenant=tenant,
        sender=sender,
        recipient=recipient,
        domain=domain,
        destination=destination,
        reason=reason,
        older=age,
        held=held,
    )


def _runtime() -> Path:
    from postane.config.load import load

    return Path(load(config_path()).runtime)


def _row(message: queue.MessageView) -> Row:
    pending = [r for r in message.recipients if r.destination] or list(message.recipients)
    states = sorted({recipient.state for recipient in pending})
    names = [recipient.address for recipient in pending]
    if len(names) > 3 and sys.stdout.isatty():
        names = [*names[:2], f"and {len(names) - 2} more"]
    reason = next((recipient.reply for recipient in pending if recipient.attempts), "")
    return Row(
        message.id,
        _span(message.age),
        _octets(message.size),
        "/".join(states),
        message.sender or "<>",
        ", ".join(names),
        " ".join(reason.split()),
    )


def _octets(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
