"""A message on its way in: gathered in memory, in a file of its own once it is large.

What the spool keeps in the end is `head` + text; the draft only holds the text. An aborted draft leaves nothing.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from postane.core.errors import SpoolFullError

_SMALL = 1024  # octets


class Draft:
    """A core.ports.Body that grows. `append` may raise SpoolFullError: the message cannot be kept."""

    __slots__ = ("_blocks", "_crc", "_fd", "_folder", "_in_file", "_left", "_limit", "_map", "_name", "size")

    def __init__(self, folder: Path, name: str, limit: int, left: Callable[[], None] | None = None) -> None:
        """`name` in `folder`: the file to use beyond `limit` octets; it is made only then.

        `left` is called once, when the text is whole or given up.
        """
        self._folder = folder
        self._name = name
        self.size = 0
        self._limit = limit
        self._left = left
        self._blocks: list[bytes] = []
        self._in_file = 0
        self._crc = 0  # of what is in the file
        self._fd = -1
        self._map: mmap.mmap | None = None

    @property
    def path(self) -> Path:
        return self._folder / self._name

    @property
    def spilled(self) -> bool:
        """True if the text lies in the file: all but the blocks of the last call or two."""
        return self._fd >= 0

    def append(self, block: bytes) -> None:
        """Raises SpoolFullError."""
        if len(block) < _SMALL and self._blocks and len(self._blocks[-1]) < _SMALL:
            self._blocks[-1] += block  # a text that comes octet by octet must not cost an object each
        else:
            self._blocks.append(block)
        self.size += len(block)
        # The file is written in large strides: memory stays bounded and a write call costs little.
        if self.size - self._in_file > self._limit:
            self.flush()

    def end(self) -> None:
        """Nothing more will be appended."""
        left, self._left = self._left, None
        if left is not None:
            left()

    def flush(self) -> None:
        """Moves what is in memory to the file (without a sync)."""
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            write_all(self._fd, self._blocks)
        except OSError as error:
            raise SpoolFullError(f"{self.path}: {error.strerror}") from error
        for block in self._blocks:
            self._crc = zlib.crc32(block, self._crc)
        self._in_file = self.size
        self._blocks = []

    def overwrite(self, patches: Iterable[tuple[int, bytes]]) -> None:
        """Puts octets in the place of others, each at its offset. Blocks if the text lies in a file.

        Raises SpoolFullError, and ValueError for a patch that does not lie within the text.
        """
        patches = list(patches)
        if any(at < 0 or at + len(octets) > self.size for at, octets in patches):
            raise ValueError("a patch lies outside of the text")
        if self._fd < 0:
            text = bytearray(b"".join(self._blocks))
            for at, octets in patches:
                text[at : at + len(octets)] = octets
            self._blocks = [bytes(text)]
            return
        self.flush()
        try:
            for at, octets in patches:
                os.pwrite(self._fd, octets, at)
        except OSError as error:
            raise SpoolFullError(f"{self.path}: {error.strerror}") from error
        self._crc = 0
        for chunk in self.chunks():
            self._crc = zlib.crc32(chunk, self._crc)

    def crc(self) -> int:
        """CRC-32 of a spilled text, counted while it came in. Raises SpoolFullError."""
        self.flush()
        return self._crc

    def sync(self) -> None:
        """All of the text is on the disk (the directory entry is another's matter). Blocks: call it in a thread."""
        self.flush()
        os.fdatasync(self._fd)

    def chunks(self) -> list[bytes | bytearray | memoryview]:
        if self._fd < 0:
            return list(self._blocks)
        if self._blocks:
            self.flush()
        if self._map is None or len(self._map) != self.size:
            self._map = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)
        return [memoryview(self._map)]

    def bytes(self) -> bytes:
        return b"".join(self.chunks())

    def close(self) -> None:
        """Forgets the text; its file, if any, stays: it belongs to the spool now."""
        self._blocks = []
        self._map = None  # the map goes when the last view of it does
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """The message is not taken: nothing of it stays. Never raises: it is called where the disk has failed."""
        self.end()
        if self._fd >= 0:
            with suppress(OSError):  # what a bad disk does not let go is cleared away at the worker's next start
                self.path.unlink()
        self.close()


def write_all(fd: int, blocks: list[bytes]) -> None:
    """writev until everything is written; the system takes at most 1024 blocks a call."""
    at = 0
    while at < len(blocks):
        group = blocks[at : at + 1024]
        want = sum(map(len, group))
        done = os.writev(fd, group)
        if done < want:
            rest = b"".join(group)[done:]
            while rest:
                rest = rest[os.write(fd, rest) :]
        at += len(group)
