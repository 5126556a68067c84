"""`postane policy`."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from postane.admin import policy
from postane.cli import output
from postane.cli.site import site
from postane.core.errors import UsageError

app = typer.Typer(no_args_is_help=True)

Whose = Annotated[str, typer.Argument(metavar="SCOPE", help="tenant:NAME, domain:NAME or an account's address.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="As in the configuration: filters.suspect, filters.use, …")]


Owner = Annotated[bool, typer.Option("--by-owner", help="Refuse what only the operator may change.")]


@app.command()
def keys(as_json: output.Json = False) -> None:
    """List the keys that a policy may have, and which of them its owner may change, beside the operator."""
    found = policy.possible()
    output.json(found) if as_json else output.table(found)


@app.command()
def show(
    scope: Whose,
    own: Annotated[bool, typer.Option("--own", help="Only what the scope itself says.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show which settings hold for a tenant, a domain or an account, and where each comes from."""
    whose = policy.Scope.parse(scope)
    found = [held for held in policy.effective(site(), whose) if not own or held.by == str(whose)]
    output.json(found) if as_json else output.table(found, none=f"{whose} says nothing of its own")


@app.command("set")
def put(
    scope: Whose,
    key: Key,
    value: Annotated[str, typer.Argument(help="As in YAML: quarantine, false, 7.5, [rspamd, lists]")],
    by_owner: Owner = False,
    as_json: output.Json = False,
) -> None:
    """Change one setting of the filters or the quarantine for a tenant, a domain or an account.

    Example: `postane policy set domain:example.org filters.suspect quarantine`
    """
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{value!r} cannot be read as a value: {error}") from error
    done = policy.set_key(site(), policy.Scope.parse(scope), key, parsed, by_owner=by_owner)
    output.change(done.changed, done.item, f"{done.item.scope}: {key} is {value}", as_json=as_json)


@app.command()
def unset(scope: Whose, key: Key, by_owner: Owner = False, as_json: output.Json = False) -> None:
    """Take a setting back: what the wider levels say holds again."""
    done = policy.unset_key(site(), policy.Scope.parse(scope), key, by_owner=by_owner)
    output.change(done.changed, done.item, f"{done.item.scope} says nothing of {key} any more", as_json=as_json)


@app.command("list")
def every(as_json: output.Json = False) -> None:
    """List all policies: tenants, then domains, then accounts."""
    found = policy.every(site())
    output.json(found) if as_json else output.table(found, none="nobody has a policy; the configuration holds for all")
