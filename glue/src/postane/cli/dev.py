"""`postane dev`: a local mail server in one command, with the parts of the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def dev(
    folder: Annotated[Path, typer.Option("--dir", help="Where all of it lives: directory, spool, keys, mailboxes.")],
    smtp: Annotated[str, typer.Option(help="Where other servers speak to it.")] = "127.0.0.1:2525",
    submission: Annotated[
        str, typer.Option(help="Where mail programs send (STARTTLS, then a login).")
    ] = "127.0.0.1:2587",
    domain: Annotated[list[str] | None, typer.Option(help="A domain to host.  [default: demo.test]")] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="An account as name:password or name@domain:password.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="SMTP workers; 0: as many as cores.")] = 0,
    filters: Annotated[
        Literal["none", "builtin"],
        typer.Option(help="builtin: signing; with --nameserver also those that need no service."),
    ] = "builtin",
    filters_file: Annotated[
        Path | None, typer.Option(help="A file with the section `filters` of a configuration: these run.")
    ] = None,
    nameserver: Annotated[str | None, typer.Option(help="host:port to ask instead of /etc/resolv.conf.")] = None,
) -> None:
    """Run the mail daemon here: no root, no containers, no Dovecot.

    Mail for a local account lands in `DIR/vmail/<domain>/<name>/Maildir/`, as durably as in production;
    other mail goes out by DNS. Prints `ready` when the ports answer. Ctrl-C drains and stops.

    Example: `postane dev --dir /tmp/mail --account ayse:secret-word`
    """
    from postane.admin.dev import Plan, prepare
    from postane.daemon.run import run_dev

    plan = Plan(
        folder=folder.absolute(),
        smtp=smtp,
        submission=submission,
        domains=tuple(domain or ["demo.test"]),
        accounts=tuple(account or []),
        workers=workers,
        builtin=filters == "builtin",
        filters_file=filters_file,
        nameserver=nameserver,
    )
    raise typer.Exit(run_dev(prepare(plan), lambda: typer.echo("ready")))
