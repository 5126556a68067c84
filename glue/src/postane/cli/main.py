"""The command `postane`: its nouns put together, and errors turned into one line and an exit code (sysexits)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from postane.cli.dev import dev
from postane.cli.site import DEFAULT_CONFIG, choose
from postane.core.errors import PostaneError

NOUNS = {
    "account": "Mailboxes and their passwords.",
    "alias": "Addresses that stand for others.",
    "audit": "Who did what.",
    "certificate": "Certificates of hosted domains, and their renewal.",
    "check": "What authentication says of one case, and lists in the DNS of an address.",
    "config": "The configuration file.",
    "directory": "The database behind domains and accounts.",
    "domain": "Hosted domains, their lives, their keys and their records.",
    "mailbox": "What accounts that are gone have left on the disk.",
    "filters": "What judges mail, and what it would say of a message.",
    "policy": "What tenants, domains and accounts change of the filters.",
    "metrics": "What the processes of this host count.",
    "quarantine": "Suspect mail that is kept apart, and what to do about it.",
    "queue": "What waits, why, and what to do about it.",
    "report": "What other servers report about hosted domains.",
    "senders": "Whose mail is refused, whose is trusted, and who may write.",
    "suffixes": "The public suffix list, by which organisations are told apart.",
    "tenant": "Whose domains they are.",
    "daemon": "The services; systemd runs them.",
}

_EPILOGUE = """**First steps**

    postane domain add example.org

    postane account add ayse@example.org --generate

    postane alias add info@example.org ayse@example.org

    postane queue list

Every verb that shows something takes `--json`. Exit codes are those of sysexits(3):
0 done, 1 a check says no, 64 usage, 65 bad data, 69 a service is missing, 74 a file cannot be read or written,
75 try again, 77 not allowed, 78 bad configuration."""


def _root(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option(envvar="POSTANE_CONFIG", help="The configuration file.", show_default=True)
    ] = DEFAULT_CONFIG,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda wanted: _version() if wanted else None)
    ] = False,
) -> None:
    """Postane: the mail platform of this host, its domains, its accounts and its queue."""
    choose(config)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _version() -> None:
    from importlib.metadata import version  # with all of Python's e-mail package: not for every command

    typer.echo(f"postane {version('postane')}")
    raise typer.Exit


def _app(words: Sequence[str]) -> typer.Typer:
    """The whole command. Only the noun that is asked for is imported with all it needs: a command starts at once."""
    app = typer.Typer(
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True, epilog=_EPILOGUE)(_root)
    app.command()(dev)
    completing = any(name.startswith("_") and name.endswith("_COMPLETE") for name in os.environ)
    for name, purpose in NOUNS.items():
        noun = import_module(f"postane.cli.{name}").app if completing or name in words else typer.Typer()
        app.add_typer(noun, name=name, help=purpose)
    return app


def whole() -> typer.Typer:
    """The command with all its nouns."""
    return _app(list(NOUNS))


def main(arguments: list[str] | None = None) -> None:
    """The entry point: never a traceback for what a person can act on."""
    app = _app(sys.argv[1:] if arguments is None else arguments)
    try:
        app(arguments)
    except SystemExit as error:
        # Typer says 2 for a wrong command line.
        sys.exit(64 if error.code == 2 else error.code)
    except PostaneError as error:
        typer.echo(f"postane: {error}", err=True)
        if error.hint:
            typer.echo(f"  hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except PermissionError as error:
        typer.echo(f"postane: {error.filename}: not allowed", err=True)
        sys.exit(77)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        typer.echo(f"postane: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", err=True)
        sys.exit(74)


if __name__ == "__main__":
    main()
