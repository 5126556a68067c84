"""What became of the messages of one segment: a file of lines beside it, written by the queue alone.

A line is `CRC-32 in hex, space, JSON`: {"id": …, and either "done": true or the fields of a core.outcome.Progress}.
A last line that does not check out was being written when the machine stopped, and is cut off. One in the middle
is damage: it is passed over, and what it said happens again. All that a line says is absolute: read twice it does no
harm.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from postane.core.outcome import Progress

log = structlog.get_logger("spool")


class Line(msgspec.Struct, omit_defaults=True, rename={"message_id": "id"}):
    message_id: str
    done: bool = False
    progress: Progress | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Journal:
    """Appends lines in memory; `write` brings them to the file and `sync` to the disk (both may block)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.named = False  # its name is known to be on the disk
        self._lines: list[bytes] = []
        self._fd = -1

    def note(self, line: Line) -> None:
        text = _encode(line)
        self._lines.append(b"%08x %s\n" % (zlib.crc32(text), text))

    @property
    def dirty(self) -> bool:
        return bool(self._lines)

    def take(self) -> bytes:
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def put_back(self, data: bytes) -> None:
        """What was taken could not be written: it comes first next time."""
        if data:
            self._lines.insert(0, data)

    def write(self, data: bytes) -> None:
        """Appends without a sync. On an error nothing of `data` stays in the file: half a line would spoil the next."""
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        length = os.fstat(self._fd).st_size
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, length)
            raise

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def parse(data: bytes) -> Iterator[tuple[int, int, Line | None]]:
    """Each line of a journal: where it begins, where the next does, and what it says; None if it does not check out."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            yield at, len(data), None
            return
        text = data[at + 9 : end]
        line = None
        if data[at : at + 9] == b"%08x " % zlib.crc32(text):
            with suppress(msgspec.DecodeError, ValueError, RecursionError):  # of a version to come
                line = _decode(text)
        yield at, end + 1, line
        at = end + 1


def read(path: Path) -> list[Line]:
    """The lines that check out; what follows the last of them is cut off the file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    damaged = end = 0
    for number, (_, after, line) in enumerate(parse(data)):
        if line is not None:
            lines.append(line)
            end = after
            damaged = number + 1 - len(lines)
    if end < len(data):
        os.truncate(path, end)
    if damaged:
        log.error("journal_corrupt", file=str(path), lines=damaged, hint="postane queue check")
    return lines


def waiting(lines: Iterable[Line]) -> set[str]:
    """The ids that the lines name and do not call done."""
    named: set[str] = set()
    done: set[str] = set()
    for line in lines:
        (done if line.done else named).add(line.message_id)
    return named - done
