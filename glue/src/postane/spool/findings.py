"""What a check of the spool finds, and what a repair is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from postane.spool.segment import SUFFIX

DAMAGED = "damaged"  # the folder in the spool for octets that do not check out


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be. `file` is below the spool; `at` an offset in it, None for all of it.

    `message` is an id, "" where none is known. `remedy` tells what a repair does with it, or did if `mended`.
    """

    file: str
    at: int | None
    message: str
    reason: str
    remedy: str = ""
    mended: bool = False


@dataclass(slots=True)
class Report:
    """`messages` that check out, `waiting` of them not done, `octets` of their text. `notes` are no faults."""

    folders: int = 0
    held: list[str] = field(default_factory=list)  # folders of living workers
    segments: int = 0
    messages: int = 0
    waiting: int = 0
    octets: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return all(fault.mended for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Octets of a file that do not belong there, and the large text that belongs to them ("": none)."""

    at: int
    end: int
    large: str = ""


@dataclass(slots=True)
class Segment:
    """What was found in one segment and its journal: the records that stay, by offset and end, and what does not."""

    path: Path
    log: bytes
    serial: int | None = None  # None: no record of it can be found
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    away: list[Stretch] = field(default_factory=list)
    rewrite: bool = False
    lines: list[Stretch] = field(default_factory=list)  # of the journal, which go


class Mender(Protocol):
    """Acts on what is found, as the remedies say."""

    def segment(self, found: Segment) -> None: ...

    def lost_journal(self, path: Path, *, keep: bool) -> None: ...

    def half_made(self, path: Path) -> None: ...

    def text(self, path: Path, aside: str) -> None: ...


def piece_name(path: Path, at: int) -> str:
    """Under which name octets of a file in a worker's folder are set aside."""
    return f"{path.parent.name}-{path.stem if path.suffix == SUFFIX else path.name}-{at}"
