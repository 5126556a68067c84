"""`postane domain import` and `report`: many domains at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from postane.admin import domain_bulk, domain_report, domain_table
from postane.admin.domain_bulk import Imported
from postane.admin.domain_plan import plan as make_plans
from postane.cli import domain_plan, output
from postane.cli.site import site
from postane.cli.who import who
from postane.core.address import shown_domain
from postane.core.errors import UsageError

_COLORS = {"made": typer.colors.GREEN, "changed": typer.colors.YELLOW, "failed": typer.colors.RED}


def register(app: typer.Typer) -> None:
    """Adds the verbs to the noun `domain`."""
    app.command("import")(bring_in)
    app.command()(report)


def bring_in(
    file: Annotated[
        Path, typer.Argument(help="A table in CSV whose first line names the columns; - for standard input.")
    ],
    plans: Annotated[
        Path | None, typer.Option(help="YAML: what rows of a plan have where they say nothing (NAME: {quota: 5G, …}).")
    ] = None,
    passwords: Annotated[
        Path | None, typer.Option(help="Folder for the passwords of new accounts; initial-passwords in the state.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    records: Annotated[
        bool, typer.Option("--records", help="With --dry-run: with the plans of the records of new domains.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Bring in domains from a table: made, given an account, and set as it says. What is right already is left alone.

    Columns: domain, tenant, plan, admin, quota, start (host, move, claim), dns_target, keep, spf, dmarc, mta_sts,
    delegation, ttl; only domain is needed. A bad table is refused as a whole; run again, it does what is left.

    Example: `postane domain import customers.csv --dry-run`
    """
    if records and not dry_run:
        raise UsageError("--records goes with --dry-run: `postane domain apply --all` carries plans out")
    octets = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    known = None if plans is None else domain_table.read_plans(plans.read_bytes(), str(plans))
    rows = domain_table.read(octets, "standard input" if str(file) == "-" else str(file), known)
    here = site()
    with domain_plan.progress("bringing in") as told:
        done = domain_bulk.bring_in(here, rows, dry_run=dry_run, store=passwords, told=told, who=who())
    planned = []
    if records:
        with domain_plan.progress("looking") as told:
            planned = domain_bulk.plan_ahead(here, rows, told)
    if as_json:
        changed = any(one.what for one in done)
        said = {"changed": changed, "items": [_view(one) for one in done]}
        output.json(said | ({"plans": [domain_plan.plan_view(one) for one in planned]} if records else {}))
    else:
        for one in done:
            _tell(one)
        counts = {
            state: sum(one.state == state for one in done) for state in ("made", "changed", "unchanged", "failed")
        }
        would = "would be " if dry_run else ""
        typer.echo(would + ", ".join(f"{count} {state}" for state, count in counts.items() if count))
        if planned:
            domain_plan.show(planned, short=True)
    domain_plan.leave([one.error for one in done], False)


def report(
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    form: Annotated[str, typer.Option("--format", help="csv or html.")] = "csv",
    language: Annotated[str, typer.Option(help=f"One of {', '.join(domain_report.LANGUAGES)}.")] = "en",
    records: Annotated[
        bool, typer.Option("--records", help="Plan the records of all now, and tell what is left to do about them.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    as_json: output.Json = False,
) -> None:
    """Tell what is where and why: all domains with where they stand, what holds them and where their records are put.

    Example: `postane domain report --format html --out domains.html`
    """
    if form not in domain_report.FORMATS:
        raise UsageError(f"--format: {form!r} is none of {', '.join(domain_report.FORMATS)}")
    if language not in domain_report.LANGUAGES:
        raise UsageError(f"--language: {language!r} is none of {', '.join(domain_report.LANGUAGES)}")
    here = site()
    planned = []
    if records:
        with domain_plan.progress("looking") as told:
            planned = make_plans(here, None, told=told)
    found = domain_report.lines(here, tenant, planned)
    if as_json:
        output.json(found)
        return
    if form == "csv":
        text = domain_report.as_csv(found, language)
    else:
        text = domain_report.as_html(found, here.config.host, time.time(), language)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8", newline="")


def _view(one: Imported) -> dict[str, object]:
    return {
        "domain": one.domain,
        "line": one.line,
        "state": one.state,
        "life": one.life,
        "what": one.what,
        "password_file": one.password_file,
        "error": str(one.error) if one.error else "",
    }


def _tell(one: Imported) -> None:
    if one.state == "unchanged":
        return
    words = str(one.error) if one.error else ", ".join(one.what)
    kept = f" (password in {one.password_file})" if one.password_file else ""
    typer.secho(f"{shown_domain(one.domain)}: {one.state}: {words}{kept}", fg=_COLORS[one.state], err=bool(one.error))
    if one.error and one.error.hint:
        typer.echo(f"  hint: {one.error.hint}", err=True)
