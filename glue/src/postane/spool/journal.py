"""What became of the messages of one segment: a file of lines beside it, written by the queue alone.

A line is `CRC-32 in hex, space, JSON`: {"id": …, and either "done": true or the fields of a core.outcome.Progress}.
A last line that does not check out was being written when the machine stopped, and is cut off.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from postane.core.outcome import Progress


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

    def write(self, data: bytes) -> bool:
        """Appends without a sync. True if the file is new: its name is to be synced too.

        On an error nothing of `data` stays in the file: half a line would hide all that follow.
        """
        new = False
        if self._fd < 0:
            new = not self.path.exists()
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        length = os.fstat(self._fd).st_size
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            os.ftruncate(self._fd, length)
            raise
        return new

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read(path: Path) -> Iterator[Line]:
    """The lines that check out; what follows the first that does not is cut off the file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        text = data[at + 9 : end]
        if end < 0 or data[at : at + 9] != b"%08x " % zlib.crc32(text):
            os.truncate(path, at)
            return
        yield _decode(text)
        at = end + 1
