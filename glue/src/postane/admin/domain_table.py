"""A table of domains as a spreadsheet writes it (CSV), read and judged: every fault with its file, line and column.

Pure. It is read on the controller before any host is touched, and by `postane domain import`.
Whatever a spreadsheet makes of CSV is taken: a byte order mark, UTF-16, semicolons or tabs, quotes with line ends in
them, empty lines. An empty cell says nothing: what a domain has stays; "-" takes back to what the configuration says.

Source: RFC 4180, section 2.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

import yaml

from postane.admin.account import parse_quota
from postane.admin.names import mailbox_address, own_domain
from postane.admin.tenant import tenant_name
from postane.core.address import shown_domain
from postane.core.errors import PermanentError, PostaneError
from postane.domains.kinds import chosen

MOST_FAULTS = 20  # that are told
UNSET = "-"
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DELIMITERS = ",;\t"


class Start(StrEnum):
    """How a new domain comes here; one that is here already is not touched by it."""

    HOST = "host"  # by the operator's word, and its mail is here at once
    MOVE = "move"  # by the operator's word, while its mail is elsewhere until the cutover
    CLAIM = "claim"  # it has to be proved by its owner


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `domain` are A-labels; "" says nothing, `ttl` -1. `line` is where it begins, from 1 on."""

    domain: str
    tenant: str = ""
    plan: str = ""
    admin: str = ""
    quota: str = ""
    start: str = ""
    dns_target: str = ""
    keep: str = ""
    spf: str = ""
    dmarc: str = ""
    mta_sts: str = ""
    delegation: str = ""
    ttl: str = ""
    line: int = 0

    @property
    def shown(self) -> str:
        return shown_domain(self.domain)


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "line")
PLAN_COLUMNS = tuple(name for name in COLUMNS if name not in ("domain", "tenant", "plan", "admin"))
_CHOICES = {
    "start": tuple(Start),
    "dmarc": ("none", "quarantine", "reject"),
    "mta_sts": ("off", "none", "testing", "enforce"),
}
_NO_UNSET = ("domain", "tenant", "admin", "start", "quota")


@dataclass(frozen=True, slots=True)
class Fault:
    """`line` and `column` "" or 0: of the whole."""

    text: str
    line: int = 0
    column: str = ""

    def at(self, name: str) -> str:
        """With its place, as compilers write it."""
        place = f"{name}:{self.line}" if self.line else name
        return f"{place}: {f'column {self.column}: ' if self.column else ''}{self.text}"


class TableError(PermanentError):
    """A table that is refused, with all its faults; the message has a line for each of the first MOST_FAULTS."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        lines = [fault.at(name) for fault in faults[:MOST_FAULTS]]
        if more := len(faults) - len(lines):
            lines.append(f"and {more} more")
        super().__init__("\n".join(lines))
        self.faults = tuple(faults)


def read(octets: bytes, name: str, plans: Mapping[str, Mapping[str, object]] | None = None) -> list[Row]:
    """The rows of a file. `plans` are what rows of a plan have where they say nothing themselves; None: any is taken.

    Raises TableError.
    """
    faults: list[Fault] = list(_plan_faults(plans or {}))
    rows: list[Row] = []
    try:
        for line, cells in _cells(_text(octets)):
            row, found = judged(cells, line, plans)
            faults += found
            if row is not None:
                rows.append(row)
    except _BrokenError as error:
        raise TableError(name, [*faults, error.fault]) from error
    faults += _twice(rows)
    if faults:
        raise TableError(name, sorted(faults, key=lambda fault: fault.line))
    return rows


def read_plans(octets: bytes, name: str) -> dict[str, dict[str, object]]:
    """The plans of a YAML or JSON file: `NAME: {quota: 5G, dmarc: none}`. Raises TableError."""
    try:
        found = yaml.safe_load(octets)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        raise TableError(name, [Fault(f"this is no YAML: {getattr(error, 'problem', error)}", line)]) from error
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise TableError(name, [Fault("a mapping of plans is needed: NAME: {quota: 5G}")])
    return found


def judged(
    cells: Mapping[str, str], line: int = 0, plans: Mapping[str, Mapping[str, object]] | None = None
) -> tuple[Row | None, list[Fault]]:
    """One row from its cells by column, and what is wrong with it; None where it names no domain."""
    faults: list[Fault] = []
    values = {name: cells.get(name, "").strip() for name in COLUMNS}
    try:
        if not values["domain"]:
            raise PermanentError("the domain is missing")
        values["domain"] = own_domain(values["domain"])
    except PostaneError as error:
        return None, [Fault(str(error), line, "domain")]
    faults += _judge_plan(values, line, plans)
    for column in COLUMNS[1:]:
        if not values[column]:
            continue
        try:
            values[column] = _value(column, values[column], values["domain"])
        except (PostaneError, ValueError) as error:
            faults.append(Fault(str(error), line, column))
    return Row(**values, line=line), faults


def write(rows: Iterable[Row]) -> str:
    """The table of these rows, as `read` takes it; the lines are other ones."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return out.getvalue()


class _BrokenError(Exception):
    """What comes behind it cannot be told apart any more."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def _text(octets: bytes) -> str:
    bom, encoding = next((one for one in _BOMS if octets.startswith(one[0])), (b"", "utf-8"))
    octets = octets.removeprefix(bom)
    try:
        text = octets.decode(encoding)
    except UnicodeDecodeError as error:
        line = octets[: error.start].count(b"\n") + 1
        hint = "save it as CSV in UTF-8 (LibreOffice: character set UTF-8; Excel: CSV UTF-8)"
        raise _BrokenError(Fault(f"this is no text in {encoding.upper()}: {hint}", line)) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _BrokenError(Fault("there is a NUL in it: this is no CSV (a spreadsheet's own file?)", line))
    return text


def _cells(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with the line that it begins in. Raises _BrokenError."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    delimiter = max(_DELIMITERS, key=first.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    while True:
        line = table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            break
        except csv.Error as error:
            raise _BrokenError(
                Fault(f"a quote is not closed, or stands in the middle of a cell: {error}", line)
            ) from error
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        if columns is None:
            columns = _header(cells, line)
            continue
        if any(cell.strip() for cell in cells[len(columns) :]):
            many = f"{len(cells)} cells, and there are {len(columns)} columns"
            raise _BrokenError(Fault(f"{many}: a cell with {delimiter!r} in it wants quotes", line))
        yield line, dict(zip(columns, cells, strict=False))
    if columns is None:
        raise _BrokenError(Fault(f"it is empty: the first line names the columns ({', '.join(COLUMNS)})"))


def _header(cells: Sequence[str], line: int) -> list[str]:
    """The columns' names, however they are spaced and in whatever case. Raises _BrokenError."""
    names = ["_".join(cell.replace("-", " ").split()).lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if name not in COLUMNS:
            meant = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(COLUMNS)}"
            raise _BrokenError(Fault(f"there is no column {name!r}; {hint}", line))
        if names.count(name) > 1:
            raise _BrokenError(Fault(f"the column {name} is there twice", line))
    if "domain" not in names:
        raise _BrokenError(Fault("the column domain is missing", line))
    return names


def _value(column: str, text: str, domain: str) -> str:
    """Its normal form. Raises PostaneError, ValueError."""
    if text == UNSET:
        if column in _NO_UNSET:
            raise ValueError(f"{UNSET!r} has no meaning here")
        return text
    if column in _CHOICES:
        if (text := text.lower().replace(" ", "")) not in _CHOICES[column]:
            raise ValueError(f"{text!r} is none of {', '.join(_CHOICES[column])}")
        return text
    if column == "tenant":
        return tenant_name(text)
    if column == "admin":
        address = mailbox_address(text if "@" in text else f"{text}@{domain}")
        if address.key_domain != domain:
            raise ValueError(f"{text}: the account has to be in {shown_domain(domain)}")
        return address.key
    if column == "quota":
        parse_quota(text)
    elif column == "keep":
        return " ".join(sorted(chosen(text.replace(",", " ").split())))
    elif column == "ttl" and not (text.isdecimal() and 0 < int(text) < 1 << 31):
        raise ValueError(f"{text!r} is no number of seconds")
    elif column == "delegation":
        return own_domain(text)
    elif column == "spf" and not (text in ("mx", "a", "ip") or (text.startswith("include:") and " " not in text)):
        raise ValueError(f"{text!r} is not mx, a, ip or include:NAME")
    return text


def _judge_plan(values: dict[str, str], line: int, plans: Mapping[str, Mapping[str, object]] | None) -> list[Fault]:
    """Fills in what the plan has and the row does not say."""
    name = values["plan"]
    if not name or name == UNSET or plans is None:
        return []
    if name not in plans:
        known = f"there are {', '.join(plans)}" if plans else "no plans are given"
        return [Fault(f"there is no plan {name!r}; {known}", line, "plan")]
    for column in PLAN_COLUMNS:
        values[column] = values[column] or str(plans[name].get(column, ""))
    return []


def _plan_faults(plans: Mapping[str, Mapping[str, object]]) -> Iterator[Fault]:
    for name, entries in plans.items():
        for key in entries:
            if key not in PLAN_COLUMNS:
                yield Fault(f"plan {name}: there is no {key}; there are {', '.join(PLAN_COLUMNS)}")


def _twice(rows: Sequence[Row]) -> Iterator[Fault]:
    first: dict[str, Row] = {}
    for row in rows:
        if (other := first.setdefault(row.domain, row)) is not row:
            yield Fault(f"{row.shown} stands in line {other.line} already", row.line, "domain")
