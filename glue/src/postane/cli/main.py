"""The command `postane`: its nouns put together, and errors turned into one line and an exit code (sysexits)."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from postane.admin.site import DEFAULT_CONFIG
from postane.cli import account, alias, config, daemon, dev, directory, domain, queue, tenant
from postane.cli.site import choose
from postane.core.errors import PostaneError

app = typer.Typer(
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    epilog="""**First steps**

    postane domain add example.org

    postane account add ayse@example.org --generate

    postane alias add info@example.org ayse@example.org

    postane queue list

Every verb that shows something takes `--json`. Exit codes are those of sysexits(3):
0 done, 1 a check says no, 64 usage, 65 bad data, 69 a service is missing, 75 try again, 77 not allowed,
78 bad configuration."""
)
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
    typer.echo(f"postane {version('postane')}")
    raise typer.Exit


for noun in (config, tenant, domain, account, alias, directory, queue, daemon):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
app.command("dev")(dev.dev)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: never a traceback for what a person can act on."""
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


if __name__ == "__main__":
    main()
