"""`postane daemon`: the long-running processes, as the systemd units start them."""

from __future__ import annotations

import typer

from postane.cli.site import config_path

app = typer.Typer(no_args_is_help=True)


@app.command()
def smtpd() -> None:
    """Take mail on ports 25, 587 and 465."""
    from postane.daemon.run import Settings, run_smtpd

    raise typer.Exit(run_smtpd(Settings(config_path())))


@app.command()
def queue() -> None:
    """Deliver what was taken."""
    from postane.daemon.run import Settings, run_queue

    raise typer.Exit(run_queue(Settings(config_path())))


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    from postane.daemon.api import run_api

    raise typer.Exit(run_api(config_path()))
