"""`postane account`. A password never stands on the command line, where every process could read it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import account
from postane.cli import output
from postane.cli.site import site
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ADDRESS", help="The account's address.")]
Quota = Annotated[str | None, typer.Option(help="Most the mailbox holds: 500M, 2G, 0 for no limit.")]
DisplayName = Annotated[str | None, typer.Option("--name", help="The person's name.")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
PasswordFile = Annotated[Path | None, typer.Option(help="Read the password from a file.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it once.")]


@app.command()
def add(
    address: Name,
    password_stdin: Stdin = False,
    password_file: PasswordFile = None,
    generate: Generate = False,
    name: DisplayName = None,
    quota: Quota = None,
    as_json: output.Json = False,
) -> None:
    """Add an account. One that exists keeps its password; its name and quota are set if given.

    Example: `postane account add ayse@example.org --generate --quota 2G`
    """
    password = _password(password_stdin, password_file, generate)
    octets = None if quota is None else account.parse_quota(quota)
    done = account.add(site(), address, password, display_name=name, quota=octets)
    made = password if generate and done.made else ""
    output.change(done.changed, done.item, f"account {done.item.address} is there", as_json=as_json, password=made)


@app.command()
def passwd(
    address: Name,
    password_stdin: Stdin = False,
    password_file: PasswordFile = None,
    generate: Generate = False,
    as_json: output.Json = False,
) -> None:
    """Set the password."""
    password = _password(password_stdin, password_file, generate)
    done = account.set_password(site(), address, password)
    made = password if generate else ""
    words = f"{done.item.address} has a new password"
    output.change(done.changed, done.item, words, as_json=as_json, password=made)


@app.command("check-password")
def check_password(address: Name, password_stdin: Stdin = False, password_file: PasswordFile = None) -> None:
    """Exit 0 if a login with this password would succeed, 1 if not."""
    right = account.check_password(site(), address, _password(password_stdin, password_file, False))
    typer.echo("right" if right else "wrong")
    if not right:
        raise typer.Exit(1)


@app.command("set")
def change(address: Name, name: DisplayName = None, quota: Quota = None, as_json: output.Json = False) -> None:
    """Set the name or the quota."""
    octets = None if quota is None else account.parse_quota(quota)
    done = account.change(site(), address, display_name=name, quota=octets)
    output.change(done.changed, done.item, f"{done.item.address} is set", as_json=as_json)


@app.command()
def disable(address: Name, as_json: output.Json = False) -> None:
    """Take no mail for an account and let nobody in; `enable` undoes it."""
    done = account.change(site(), address, active=False)
    output.change(done.changed, done.item, f"{done.item.address} is off", as_json=as_json)


@app.command()
def enable(address: Name, as_json: output.Json = False) -> None:
    """Undo `disable`."""
    done = account.change(site(), address, active=True)
    output.change(done.changed, done.item, f"{done.item.address} is on", as_json=as_json)


@app.command()
def remove(address: Name, as_json: output.Json = False) -> None:
    """Remove an account. Its mailbox on disk stays; queued mail for it bounces."""
    done = account.remove(site(), address)
    output.change(done.changed, done.item, f"account {done.item.address} is gone", as_json=as_json)


@app.command("list")
def every(
    domain: Annotated[str | None, typer.Argument(help="Only those of this domain.")] = None,
    as_json: output.Json = False,
) -> None:
    """List accounts."""
    found = account.every(site(), domain)
    output.json(found) if as_json else output.table(found, none="no accounts yet")


@app.command()
def show(address: Name, as_json: output.Json = False) -> None:
    """Show one account."""
    found = account.show(site(), address)
    output.json(found) if as_json else output.table([found])


def _password(from_stdin: bool, from_file: Path | None, generate: bool) -> str:
    if sum((from_stdin, from_file is not None, generate)) > 1:
        raise UsageError("--password-stdin, --password-file and --generate exclude each other")
    if generate:
        from postane.directory.passwords import generate_password

        return generate_password()
    try:
        if from_stdin:
            return sys.stdin.readline().rstrip("\r\n")
        if from_file is not None:
            return from_file.read_text("utf-8").partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise UsageError(f"{from_file or 'standard input'}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{from_file or 'standard input'}: the password is no text in UTF-8") from error
    if not sys.stdin.isatty():
        raise UsageError("no password", hint="say --password-stdin, --password-file FILE or --generate")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
