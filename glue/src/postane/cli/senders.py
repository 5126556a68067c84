"""`postane senders`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import senders
from postane.admin.policy import Scope
from postane.admin.senders import SendersView
from postane.admin.site import Change
from postane.cli import output
from postane.cli.site import site
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Whose = Annotated[str, typer.Argument(metavar="SCOPE", help="tenant:NAME, domain:NAME or an account's address.")]
Entries = Annotated[
    list[str],
    typer.Argument(
        metavar="ENTRY",
        help="An address, a domain, .domain with all below it, the address of a host, a network.",
    ),
]


@app.command()
def show(scope: Whose, as_json: output.Json = False) -> None:
    """Show whom a tenant, a domain or an account allows and blocks, and who may write to it."""
    view = senders.show(site(), Scope.parse(scope))
    if as_json:
        output.json(view)
        return
    if view.who:
        typer.echo(f"only {' '.join(view.who)}")
    typer.echo(senders.text_of(view), nl=False)
    if not (view.who or view.allow or view.block):
        typer.echo(f"{view.scope} allows and blocks nobody by itself")
    _hint(view)


@app.command()
def allow(scope: Whose, entries: Entries, as_json: output.Json = False) -> None:
    """Trust these senders: what is thought of them as spam does not count.

    Example: `postane senders allow ayse@example.org friend@example.net .partner.example`
    """
    _tell(senders.put(site(), Scope.parse(scope), "allow", entries), f"allows {' '.join(entries)}", as_json)


@app.command()
def block(scope: Whose, entries: Entries, as_json: output.Json = False) -> None:
    """Refuse mail of these senders.

    Example: `postane senders block domain:example.org .spam.example 192.0.2.0/24`
    """
    _tell(senders.put(site(), Scope.parse(scope), "block", entries), f"blocks {' '.join(entries)}", as_json)


@app.command()
def forget(scope: Whose, entries: Entries, as_json: output.Json = False) -> None:
    """Neither allow nor block these senders any more; wider levels hold for them."""
    _tell(senders.forget(site(), Scope.parse(scope), entries), f"has forgotten {' '.join(entries)}", as_json)


@app.command()
def only(
    scope: Whose,
    who: Annotated[
        list[str],
        typer.Argument(metavar="WHO", help="anyone, domain (the own one), members (all of the tenant's), or entries."),
    ],
    as_json: output.Json = False,
) -> None:
    """Say who may write to the addresses of a tenant, a domain or an account at all, or to an alias.

    Example: `postane senders only board@example.org members auditor@example.net`
    """
    done = senders.only(site(), Scope.parse(scope), who)
    _tell(done, f"takes mail from {' '.join(done.item.who)}", as_json)


@app.command("export")
def dump(scope: Whose) -> None:
    """Print all entries, one a line, as `import` reads them."""
    typer.echo(senders.text_of(senders.show(site(), Scope.parse(scope))), nl=False)


@app.command("import")
def load(
    scope: Whose,
    file: Annotated[Path, typer.Argument(help="Lines of `allow ENTRY` and `block ENTRY`; - is standard input.")],
    replace: Annotated[bool, typer.Option("--replace", help="Forget all entries that are not in the file.")] = False,
    as_json: output.Json = False,
) -> None:
    """Add the entries of a file."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8") from error
    done = senders.load(site(), Scope.parse(scope), text, replace=replace)
    _tell(done, f"allows {len(done.item.allow)} and blocks {len(done.item.block)}", as_json)


def _tell(done: Change[SendersView], words: str, as_json: bool) -> None:
    output.change(done.changed, done.item, f"{done.item.scope} {words}", as_json=as_json)
    if not as_json:
        _hint(done.item)


def _hint(view: SendersView) -> None:
    if not view.in_use:
        typer.echo(f"the filter lists does not run for {view.scope}: add it to filters.use", err=True)
