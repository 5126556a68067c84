"""`postane queue check`: whether the spool on the disk is sound, and what a repair would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from postane.cli import output
from postane.cli.site import config_path

if TYPE_CHECKING:
    from postane.admin.spool import Fault

Repair = Annotated[bool, typer.Option("--repair", help="Set aside what is damaged, and let the rest go on.")]


def check(repair: Repair = False, as_json: output.Json = False) -> None:
    """Verify the whole spool on the disk: every record, text and journal. Also while the daemon runs.

    Exits 1 if there is a fault. Says what `--repair` would do, which needs the queue process to be stopped; nothing
    is deleted then: damaged octets are moved to `damaged/` in the spool.

    Example: `postane queue check`
    """
    from postane.admin import spool

    report = spool.verify(config_path(), mend=repair)
    if as_json:
        counts = {
            name: getattr(report, name) for name in ("folders", "held", "segments", "messages", "waiting", "octets")
        }
        output.json({"clean": report.clean, **counts, "faults": report.faults, "notes": report.notes})
    else:
        for fault in report.faults:
            verb = "repaired" if fault.mended else "not repaired" if repair else "--repair"
            _print(fault, f"   {verb}: {fault.remedy}" if fault.remedy else "")
        for note in report.notes:
            _print(note, f"   {note.remedy}" if note.remedy else "", kind="note")
        for folder in report.held if repair else ():
            typer.echo(f"{folder} is held by a living worker: nothing was changed there")
        where = f"{_count(report.segments, 'segment')} in {_count(report.folders, 'folder')}"
        typer.echo(f"{where}, {_count(report.messages, 'message')} whole, {report.waiting} of them waiting")
        left = sum(not fault.mended for fault in report.faults)
        mended = len(report.faults) - left
        typer.echo(
            f"{_count(left, 'fault')}{f', {mended} repaired' if mended else ''}" if report.faults else "no fault"
        )
    raise typer.Exit(0 if report.clean else 1)


def _print(fault: Fault, remedy: str, kind: str = "fault") -> None:
    place = fault.file if fault.at is None else f"{fault.file} at {fault.at}"
    message = f"message {fault.message}: " if fault.message else ""
    typer.echo(f"{kind}: {place}: {message}{fault.reason}")
    if remedy:
        typer.echo(remedy)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
