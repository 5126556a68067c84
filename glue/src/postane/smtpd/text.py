"""The text of a message as it arrives: finds its end, removes the dots, and notices what may not be in it.

Works on whole buffers, never line by line: each check is one search through the block that was read, so a
1 MiB message costs a few dozen calls and not twenty thousand.

Only CRLF "." CRLF ends the text (RFC 5321 section 4.1.1.4). A bare CR or LF ends nothing and is remembered as a fault,
as NUL and over-long lines are: the text is read to its true end first and refused then, since reading on in the
middle of it would take its rest for commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable

END = b"\r\n.\r\n"
_DOT = b"\r\n."
# Octets that may be the beginning of END, longest first; they wait for the next block.
_BEGINNINGS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")

BARE_NEWLINE = "bare newline"
NUL = "NUL"
LONG_LINE = "long line"
TOO_BIG = "too big"


class TextReader:
    """Feed it blocks until `feed` returns something; `fault` is "" or the first fault seen.

    `sink` gets each clean block in order, until a fault: what is refused anyway is not kept.
    With `normalize` a bare CR or LF is no fault, but goes to the sink as CRLF: what is kept has whole line ends only,
    so that no next hop can take a part of it for an end.
    `size` counts octets of the text without transparency dots and without the final dot line.
    """

    __slots__ = ("_held", "_line", "_line_limit", "_normalize", "_sink", "_size_limit", "_skip", "fault", "size")

    def __init__(
        self, sink: Callable[[bytes], None], size_limit: int, line_limit: int, *, normalize: bool = False
    ) -> None:
        self._sink = sink
        self._size_limit = size_limit
        self._line_limit = line_limit
        self._normalize = normalize
        self._held = b"\r\n"  # as if a line had just ended: the text may be nothing but the dot line
        self._skip = 2  # ... those two octets are not part of it
        self._line = 0  # octets of the line at the end of the last block
        self.fault = ""
        self.size = 0

    def feed(self, block: bytes) -> bytes | None:
        """None: the text goes on. Otherwise it has ended, and the octets after its end are returned."""
        buffer = self._held + block if self._held else block
        # Searches go backwards: that is the fast direction for what is mostly not there, a dot at a line's start.
        last = buffer.rfind(_DOT)
        dots = last >= 0
        if dots:
            dots = buffer.rfind(_DOT, 0, last + 2) >= 0  # others before it
            at = buffer.find(END) if dots else last if buffer.startswith(END, last) else -1
            if at >= 0:
                self._take(buffer[: at + 2], dots=dots)
                return buffer[at + 5 :]
            dots = True
        held = b""
        if buffer.endswith(_BEGINNINGS):
            held = next(beginning for beginning in _BEGINNINGS if buffer.endswith(beginning))
            buffer = buffer[: -len(held)]
        self._held = held
        self._take(buffer, dots=dots)
        return None

    def feed_chunk(self, block: bytes) -> None:
        """A piece of a BDAT chunk: counted octets, no dots and no end within (RFC 3030)."""
        self._skip = 0
        buffer = self._held + block if self._held == b"\r" else block
        self._held = b"\r" if buffer.endswith(b"\r") else b""
        self._take(buffer[:-1] if self._held else buffer, dots=False)

    def end_chunks(self) -> None:
        """After the last chunk: a CR that still waits for its LF is bare."""
        if self._held == b"\r":
            self._take(self._held, dots=False)

    def _take(self, text: bytes, *, dots: bool) -> None:
        """`dots`: a line may begin with a transparency dot."""
        if not text:
            return
        if not self.fault:
            # Every CR before an LF and every LF behind a CR, or the two differ: a fifth of the cost of counting.
            bare = text.replace(b"\r", b"").replace(b"\n", b"\r\n") != text
            if bare and self._normalize:
                # Dots first: the one behind a bare line end is no transparency dot.
                text = _BARE.sub(b"\r\n", text.replace(_DOT, b"\r\n") if dots else text)
                bare = dots = False
            if bare:
                self.fault = BARE_NEWLINE
            elif b"\0" in text:
                self.fault = NUL
            elif self._has_long_line(text):
                self.fault = LONG_LINE
        if dots:
            text = text.replace(_DOT, b"\r\n")
        if self._skip:
            text = text[self._skip :]
            self._skip = 0
        self.size += len(text)
        if self.size > self._size_limit:
            self.fault = self.fault or TOO_BIG
        if text and not self.fault:
            self._sink(text)

    def _has_long_line(self, text: bytes) -> bool:
        """Leaps from line end to line end, the farthest that the limit allows: few steps, whatever the lines."""
        limit = self._line_limit
        start = -self._line  # where the current line began, seen from this block
        length = len(text)
        while start + limit + 2 <= length:
            end = text.rfind(b"\n", max(start, 0), start + limit + 2)
            if end < 0:
                return True
            start = end + 1
        last = text.rfind(b"\n", max(start, 0))
        self._line = length - (last + 1 if last >= 0 else start)
        return False
