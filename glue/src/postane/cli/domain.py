"""`postane domain`."""

from __future__ import annotations

from typing import Annotated

import typer

from postane.admin import domain
from postane.admin.domain_life import Desk
from postane.cli import (
    domain_accept,
    domain_bulk,
    domain_clients,
    domain_dns,
    domain_drift,
    domain_export,
    domain_life,
    domain_plan,
    output,
)
from postane.cli.site import site
from postane.cli.who import who

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The domain, as letters (müze.example) or as A-labels.")]


@app.command()
def add(
    name: Name,
    tenant: Annotated[str | None, typer.Option(help="Whose it is; made if there is none of that name.")] = None,
    as_json: output.Json = False,
) -> None:
    """Add a domain with an RSA and an Ed25519 DKIM key.

    Example: `postane domain add example.org --tenant bakery`
    """
    done = domain.add(site(), name, tenant, who())
    output.change(done.changed, done.item, f"domain {done.item.shown} is hosted", as_json=as_json)


@app.command()
def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Remove its accounts and aliases too.")] = False,
    as_json: output.Json = False,
) -> None:
    """Remove a domain. Mailboxes on disk stay."""
    done = domain.remove(site(), name, force=force, who=who())
    output.change(done.changed, done.item, f"domain {done.item.shown} is gone", as_json=as_json)


@app.command()
def disable(name: Name, as_json: output.Json = False) -> None:
    """Take no mail for a domain and let none of its people in; `enable` undoes it."""
    done = domain.set_active(site(), name, False, who())
    output.change(done.changed, done.item, f"domain {done.item.shown} is off", as_json=as_json)


@app.command()
def enable(name: Name, as_json: output.Json = False) -> None:
    """Undo `disable`."""
    done = domain.set_active(site(), name, True, who())
    output.change(done.changed, done.item, f"domain {done.item.shown} is on", as_json=as_json)


@app.command("list")
def every(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None, as_json: output.Json = False
) -> None:
    """List hosted domains with where each stands in its life, and what held it at the last look."""
    found = Desk(site()).every(tenant)
    if as_json:
        output.json(found)
    else:
        columns = ("shown", "tenant", "active", "accounts", "aliases", "state", "holds")
        output.table(found, columns, none="no domains yet")


@app.command()
def dkim(name: Name, as_json: output.Json = False) -> None:
    """Show the DKIM keys with the TXT records that publish them."""
    found = domain.dkim(site(), name)
    output.json(found) if as_json else output.table(found, ("record_name", "record"))


domain_life.register(app)
domain_dns.register(app)
domain_clients.register(app)
domain_plan.register(app)
domain_drift.register(app)
domain_bulk.register(app)
domain_accept.register(app)
domain_export.register(app)
