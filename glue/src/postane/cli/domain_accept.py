"""`postane domain accept`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from postane.cli import output
from postane.cli.site import site
from postane.cli.who import who
from postane.core.errors import UsageError

if TYPE_CHECKING:
    from postane.acceptance.result import Result
    from postane.admin.domain_accept import Accepted

_SIGNS = {"pass": "✔", "fail": "✘", "skipped": "–"}


def register(app: typer.Typer) -> None:
    """Adds the verb to the noun `domain`."""
    app.command()(accept)


def accept(
    name: Annotated[
        str | None, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.", show_default=False)
    ] = None,
    account: Annotated[
        str, typer.Option(help="Local part of the account that the run makes, and removes again.")
    ] = "postane-acceptance",
    stranger: Annotated[
        str, typer.Option("--from", help="Sender of the mail from outside; an address at this host if none is named.")
    ] = "",
    echo: Annotated[str, typer.Option(help="An address outside that answers: mail goes out and comes back.")] = "",
    peer: Annotated[
        str, typer.Option(help="HOST:PORT of a mail server outside that sends on what this host gives it.")
    ] = "",
    to: Annotated[Path | None, typer.Option(help="Folder that gets a copy of the document and its pages.")] = None,
    lang: Annotated[Literal["en", "tr"], typer.Option(help="Language of what is printed here.")] = "en",
    last: Annotated[bool, typer.Option("--last", help="Show the last run instead of a new one.")] = False,
    verify: Annotated[
        Path | None, typer.Option(help="Check the signature of a document (certificate.json); no run.")
    ] = None,
    key: Annotated[str, typer.Option(help="With --verify: fingerprint of the key, if not this host's.")] = "",
    as_json: output.Json = False,
) -> None:
    """Try a domain's mail with real messages, by every door, and leave a dated, signed page; exit 1 if a check fails.

    The run makes an account of its own in the domain and removes it. The pages lie in the state folder, under
    accepted/DOMAIN.

    Example: `postane domain accept example.org --to /tmp/acceptance`
    """
    if verify is not None:
        _verify(verify, key, as_json=as_json)
        return
    if name is None:
        raise UsageError("name a domain, or a document by --verify")
    from postane.admin import domain_accept

    if last:
        done = domain_accept.last(site(), name)
    else:
        wishes = domain_accept.Wishes(local=account, stranger=stranger, echo=echo, peer=peer)
        quiet = as_json or not sys.stdout.isatty()
        told = (lambda _: None) if quiet else lambda one: _live(one, lang)
        done = domain_accept.run(site(), name, wishes, told, who())
    written = domain_accept.write_to(done, to) if to is not None else []
    if as_json:
        output.json({**done.document, "folder": str(done.folder)})
    else:
        _told(done, lang, live=sys.stdout.isatty() and not last)
        for one in written:
            typer.echo(f"  {one}")
    if not done.passed:
        raise typer.Exit(1)


def _verify(file: Path, key: str, *, as_json: bool) -> None:
    from postane.admin import domain_accept

    found = domain_accept.verify(site(), file, key)
    if as_json:
        output.json(found)
    elif found.good:
        typer.echo(f"good: {found.domain} on {found.host}, {found.begun}: {found.verdict}")
        typer.echo(f"  key {found.fingerprint}")
    else:
        typer.echo(f"not good: {found.trouble}")
        if found.fingerprint:
            typer.echo(f"  key {found.fingerprint}")
    if not found.good:
        raise typer.Exit(1)


def _live(result: Result, lang: Literal["en", "tr"]) -> None:
    """A line for each check as it ends."""
    from postane.acceptance.words import Words

    words = Words(lang)
    why = words.reason(result.reason.key, result.reason.values)
    _line(result.verdict, words(f"check.{result.name}"), why, round(result.seconds * 1000), lang)


def _told(done: Accepted, lang: Literal["en", "tr"], *, live: bool) -> None:
    from postane.acceptance.words import Words

    words, document = Words(lang), done.document
    for check in () if live else document["checks"]:
        why = words.reason(check["reason"]["key"], check["reason"]["values"])
        _line(check["verdict"], words(f"check.{check['name']}"), why, check["milliseconds"], lang)
    counts = document["counts"]
    told = words("page.counts", passed=counts["pass"], failed=counts["fail"], skipped=counts["skipped"])
    typer.echo(f"{document['shown']}: {words('page.' + document['verdict'])}: {told}")
    typer.echo(f"  {done.folder}")


def _line(verdict: str, title: str, why: str, milliseconds: int, lang: Literal["en", "tr"]) -> None:
    from postane.acceptance.words import Words

    typer.echo(f"{_SIGNS[verdict]} {title}{f': {why}' if why else ''} ({Words(lang).seconds(milliseconds)})")
