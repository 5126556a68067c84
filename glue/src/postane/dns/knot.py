"""Knot, reached by its control socket: the one doorway to the name server that serves hosted domains.

A hosted zone is a member of a catalog zone (RFC 9432) that Knot interprets; members come and go while it runs.
Records go in by transactions of Knot's own: all of a zone's change is served at once, or nothing of it.
Many commands go in one session, as words like those of `knotc`; one that fails does not end it, so its answer counts.
Raises ServiceMissingError where Knot does not answer or refuses.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postane.core.errors import ServiceMissingError
from postane.dns.knot_control import Control, Unit
from postane.dns.records import Plan, Record

CATALOG = "catalog.postane"

_LINE = re.compile(r"\[(?P<zone>\S+)\.\] (?P<name>\S+)\. (?P<ttl>\d+) (?P<type>\S+) (?P<data>.*)")
# "error: (what) [zone.] …" or "error: [zone.] (what)".
_ZONE = re.compile(r"\[(\S*?)\.?\]")
_WHAT = re.compile(r"\(([^)]*)\)")
_ATTEMPTS = 20
_PAUSE = 0.1  # seconds between looks for what Knot does in its own time
_TIMEOUT = 60  # seconds for one session


@dataclass(frozen=True, slots=True)
class Problem:
    """A command that Knot refused: its words, and the zone it names ("" for none)."""

    line: str
    what: str
    zone: str


class Knot:
    """The name server behind one control socket."""

    def __init__(self, socket: str) -> None:
        self.socket = socket

    def members(self) -> dict[str, str]:
        """The hosted zones, each with the name of its entry in the catalog."""
        served, problems = self._read([CATALOG])
        if problems:
            raise ServiceMissingError(
                f"Knot has no catalog zone {CATALOG}: {problems[0].what}", hint="run the role dns on this host"
            )
        return {record.data.rstrip("."): record.name for record in served[CATALOG] if record.type == "PTR"}

    def read(self, zones: Sequence[str]) -> dict[str, list[Record]]:
        """What each zone serves; a zone that has nothing yet, or is not there, serves nothing."""
        return self._read(zones)[0]

    def change_members(self, add: Iterable[str], remove: dict[str, str]) -> None:
        """Takes zones in and out of the catalog, and waits until Knot knows the new ones. `remove` is as `members`."""
        added = list(add)
        commands = [f"zone-set {CATALOG}. {_entry(zone)}. 0 PTR {zone}." for zone in added]
        commands += [f"zone-unset {CATALOG}. {entry}. PTR" for entry in remove.values()]
        self._transact({CATALOG: commands})
        for _ in range(_ATTEMPTS):
            waiting = {problem.zone for problem in _problems(self._session([f"zone-status {zone}." for zone in added]))}
            if not waiting:
                return
            time.sleep(_PAUSE)
        raise ServiceMissingError(f"Knot does not take in {', '.join(sorted(waiting))}")

    def apply(self, plans: Iterable[Plan]) -> None:
        """Carries the plans out."""
        self._transact(
            {
                plan.zone: [
                    # A new SOA takes the place of the old one: a zone is never without.
                    *(_command("zone-unset", plan.zone, record) for record in plan.remove if record.type != "SOA"),
                    *(_command("zone-set", plan.zone, record) for record in plan.add),
                ]
                for plan in plans
            }
        )

    def _read(self, zones: Sequence[str]) -> tuple[dict[str, list[Record]], list[Problem]]:
        output = self._session([f"zone-read {zone}." for zone in zones])
        found: dict[str, list[Record]] = {zone: [] for zone in zones}
        for line in output:
            if match := _LINE.fullmatch(line):
                record = Record(match["name"].lower(), match["type"], match["data"], int(match["ttl"]))
                found[match["zone"]].append(record)
        return found, _problems(output)

    def _transact(self, commands: dict[str, list[str]]) -> None:
        """One transaction a zone. Where Knot refuses one command, none of the zones is changed."""
        if not commands:
            return
        self._begin(list(commands))
        refused = _problems(self._session([command for several in commands.values() for command in several]))
        verb = "zone-abort" if refused else "zone-commit"
        ended = _problems(self._session([f"{verb} {zone}." for zone in commands], blocking=True))
        for problem in refused or ended:
            raise ServiceMissingError(f"Knot refuses the records: {problem.line}")

    def _begin(self, zones: list[str]) -> None:
        """Opens the transactions. One that stays open is left over from a publisher that died: it is given up."""
        waiting = zones
        for attempt in range(_ATTEMPTS):
            problems = _problems(self._session([f"zone-begin {zone}." for zone in waiting]))
            if not problems:
                return
            waiting = [problem.zone for problem in problems]
            if any(zone not in zones for zone in waiting):
                break
            if attempt == _ATTEMPTS // 2:
                self._session([f"zone-abort {zone}." for zone in waiting])
            time.sleep(_PAUSE)
        self._session([f"zone-abort {zone}." for zone in zones if zone not in waiting])
        raise ServiceMissingError(f"Knot opens no transaction: {problems[0].line}")

    def _session(self, commands: Sequence[str], *, blocking: bool = False) -> list[str]:
        """Gives the commands, written as for knotc, in one session; the lines that knotc would print."""
        if not commands:
            return []
        control = Control(self.socket, _TIMEOUT)
        try:
            answers = control.run([shlex.split(command) for command in commands], blocking=blocking)
        finally:
            control.close()
        return [_line(unit) for units in answers for unit in units]


def _line(unit: Unit) -> str:
    record = " ".join(filter(None, (unit.owner, unit.ttl, unit.type, unit.data)))
    return f"error: ({unit.error}) [{unit.zone}] {record}" if unit.error else f"[{unit.zone}] {record}"


def _problems(lines: Iterable[str]) -> list[Problem]:
    found = []
    for line in lines:
        if line.startswith("error: "):
            zone, what = _ZONE.search(line), _WHAT.search(line)
            found.append(Problem(line, what[1] if what else line, zone[1] if zone else ""))
    return found


def _entry(zone: str) -> str:
    """A member's entry: its label only has to be unique (RFC 9432 section 4.1)."""
    return f"{hashlib.sha224(zone.encode()).hexdigest()}.zones.{CATALOG}"


def _command(verb: str, zone: str, record: Record) -> str:
    ttl = f" {record.ttl}" if verb == "zone-set" else ""
    # One word, of which quotes and backslashes are taken away.
    data = record.data.replace("\\", "\\\\").replace('"', '\\"')
    return f'{verb} {zone}. {record.name}.{ttl} {record.type} "{data}"'
