"""Finds the parts of a message (RFC 2045, 2046) as leniently as mail programs do, in one pass over its octets.

Where programs differ, a part is given in every way that one of them sees it:

* Each of several Content-Type, Content-Transfer-Encoding and Content-Disposition fields counts.
* A header ends at its empty line; where a line before is no field, the body may begin there as well.
* A line of two hyphens that is followed by Content- fields begins a part, whether its boundary was announced or not.
  The part that it may stand in goes on beside it, up to a boundary that was announced.

A part is a range of the octets and is not decoded here. The time is linear in the size, the memory that of the parts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from postane.filters.content import names
from postane.filters.content.budget import BoundError, Budget
from postane.filters.content.decode import BASE64, IDENTITY, QUOTED, UU
from postane.filters.content.octets import Octets, every

# Of an unfolded header: the fields that say what a part is, a space before the colon or not.
_FIELD = re.compile(rb"^content-(type|disposition|transfer-encoding)[ \t\0]*:(.*)$", re.I | re.M)
_FOLD = re.compile(rb"\n(?=[ \t]+[^\s])|\n[ \t]+(?=\n)")
_NO_FIELD = re.compile(rb"^(?!(?:[!-9;-~\x80-\xff]++[ \t\0]*+:|[ \t]+[^\s]|$))", re.M)

_CONTENT_FOLLOWS = re.compile(
    rb"(?:[!-9;-~]{1,80}[ \t]*:[^\n]*\n|[ \t]+[^\n]*\n){0,12}?content-[a-z-]{1,40}[ \t]*:", re.IGNORECASE
)
_DASHES = re.compile(rb"^--([^\n]{0,1000})$", re.M)
_FIELDS = 100
_BOUNDARIES = 40
_LINE = 1024  # octets of a line that are compared with boundaries
_TYPE = re.compile(rb"[\s\"'(]*([a-z0-9][\w.+*-]*)\s*/\s*([\w.+*-]+)", re.IGNORECASE)
_FIRST = 16 * 1024  # octets in which most headers end


@dataclass(frozen=True, slots=True)
class Head:
    """What a header says of its part, in all readings. `body` are the offsets where the body may begin, in order."""

    types: tuple[str, ...]
    names: tuple[bytes, ...]
    boundaries: tuple[bytes, ...]
    encodings: tuple[str, ...]
    attached: bool
    body: tuple[int, ...]

    @property
    def multipart(self) -> bool:
        return any(one.startswith("multipart/") for one in self.types)

    @property
    def message(self) -> bool:
        return any(one.startswith("message/") for one in self.types)


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf of the tree: its octets end at `end` and begin at one of `head.body`."""

    head: Head
    end: int
    depth: int


@dataclass(slots=True, eq=False)
class _Open:
    """A part whose end has not come: `level` is how many boundaries were announced when it began.

    `parts`: it is no leaf if its parts are found.
    """

    head: Head
    level: int
    depth: int
    loose: bool
    parts: _Level | None = None


@dataclass(slots=True)
class _Level:
    boundaries: tuple[bytes, ...]
    depth: int
    found: bool = False


def parts(octets: Octets, budget: Budget, depth: int = 0) -> Iterator[Part]:
    """The leaves of the message, in the order of their ends. Raises BoundError."""
    yield from _Walk(octets, budget, depth).run()


class _Walk:
    def __init__(self, octets: Octets, budget: Budget, depth: int) -> None:
        self._octets = octets
        self._budget = budget
        self._end = len(octets)
        self._depth = depth
        self._levels: list[_Level] = []
        self._known: dict[bytes, int] = {}  # boundary: the index of its level
        self._open: list[_Open] = []

    def run(self) -> Iterator[Part]:
        at = self._begin(0, self._depth, loose=False)
        for line, rest, after in self._lines(at):
            if line < at:  # within a header that was read
                continue
            level = self._known.get(rest)
            closing = False
            if level is None and rest.endswith(b"--"):
                level = self._known.get(rest[:-2])
                closing = level is not None
            if level is not None:
                self._levels[level].found = True
                yield from self._close(line, level)
                self._leave(level + (0 if closing else 1))
                if not closing:
                    at = self._begin(after, self._levels[level].depth + 1, loose=False)
            elif rest and (self._content_follows(after) or self._prefixed(rest)):
                yield from self._close_loose(line)
                at = self._begin(after, (self._levels[-1].depth if self._levels else self._depth) + 1, loose=True)
        yield from self._close(self._end, -1)

    def _lines(self, first: int) -> Iterator[tuple[int, bytes, int]]:
        """Lines that begin with two hyphens: where, what follows these, and where the next line begins."""
        octets, end = self._octets, self._end
        if first == 0 and octets[:2] == b"--":
            yield self._line(0)
        for found in every(octets, b"\n--", max(first - 1, 0), end, self._budget):
            yield self._line(found + 1)

    def _line(self, at: int) -> tuple[int, bytes, int]:
        text = self._octets[at + 2 : at + 2 + _LINE]
        length = text.find(b"\n")
        after = at + 2 + length + 1 if length >= 0 else min(at + 2 + _LINE, self._end)
        return at, (text if length < 0 else text[:length]).rstrip(b" \t\r\0"), after

    def _content_follows(self, at: int) -> bool:
        return _CONTENT_FOLLOWS.match(self._octets[at : at + 2048]) is not None

    def _prefixed(self, rest: bytes) -> bool:
        """RFC 2046 section 5.1.1: a line that begins with a boundary is one; most programs compare the whole line."""
        return any(one and rest.startswith(one) for level in self._levels for one in level.boundaries)

    def _begin(self, at: int, depth: int, *, loose: bool) -> int:
        """Reads the header at `at`, and those of the messages that begin in its body. Where the body begins."""
        while True:
            self._budget.part(depth)
            head = _head(self._octets, at, self._end, self._known, self._budget)
            if head.multipart and head.boundaries:
                level, made = len(self._levels), _Level(head.boundaries, depth)
                self._levels.append(made)
                for one in head.boundaries:
                    self._known[one] = level
                encoded = any(one != IDENTITY for one in head.encodings)
                lies = encoded or any(not one.startswith("multipart/") for one in head.types) or head.names
                self._open.append(_Open(head, level, depth, loose, None if lies else made))
                return head.body[0]
            self._open.append(_Open(head, len(self._levels), depth, loose))
            inner = [
                one for one in head.body if at < one < self._end
            ]  # a header that ends where it begins says nothing
            if not head.message or IDENTITY not in head.encodings or not inner:
                return head.body[0]
            depth += 1
            for other in inner[1:]:
                self._begin(other, depth, loose=loose)
            at = inner[0]

    def _leave(self, level: int) -> None:
        """Forgets the boundaries from `level` on."""
        if level < len(self._levels):
            del self._levels[level:]
            self._known = {one: at for at, found in enumerate(self._levels) for one in found.boundaries}

    def _close(self, end: int, level: int) -> Iterator[Part]:
        """Parts inside of `level` end here."""
        for one in [one for one in self._open if one.loose or one.level > level]:
            self._open.remove(one)
            if one.parts is None or not one.parts.found:
                yield Part(one.head, self._before(end), one.depth)

    def _close_loose(self, end: int) -> Iterator[Part]:
        for one in [one for one in self._open if one.loose]:
            self._open.remove(one)
            if one.parts is None or not one.parts.found:
                yield Part(one.head, self._before(end), one.depth)

    def _before(self, end: int) -> int:
        """The line end before a boundary belongs to it."""
        if end == self._end:
            return end
        return end - 2 if end >= 2 and self._octets[end - 2 : end] == b"\r\n" else max(end - 1, 0)


def _head(octets: Octets, at: int, end: int, known: Collection[bytes], budget: Budget) -> Head:
    text, body = _text(octets, at, end, budget)
    starts = [body]
    # One line a field; a bare CR is a line end to some.
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if text and (strange := _NO_FIELD.search(lines)) is not None:
        first = at + _offset(text, lines, strange.start())
        starts.insert(0, first)
        announced = set(known).union(_said(lines[: strange.start()]).boundaries)
        if (stop := _boundary(lines, strange.start(), announced)) >= 0:  # nobody reads on
            lines = lines[:stop]
            starts = [min(first, at + _offset(text, text.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), stop))]
    head = _said(lines, tuple(dict.fromkeys(starts)))
    budget.named(sum(map(len, head.names)))
    return head


def _said(lines: bytes, body: tuple[int, ...] = ()) -> Head:
    """What the fields say, in lines that end with LF. Raises BoundError."""
    found = _FIELD.findall(_FOLD.sub(b" ", lines).replace(b"\0", b""))
    if len(found) > _FIELDS:
        raise BoundError(f"over {_FIELDS} Content fields in one header")
    types: list[str] = []
    raw: list[bytes] = []
    boundaries: list[bytes] = []
    encodings: list[bytes] = []
    attached = False
    for name, value in found:
        kind = name.lower()
        if kind == b"transfer-encoding":
            encodings.append(value)
            continue
        raw += names.parameters(value)
        if kind == b"disposition":
            attached = attached or b"attach" in value.lower()
            continue
        if (match := _TYPE.match(value)) is not None:
            types.append((match[1] + b"/" + match[2]).lower().decode("latin-1"))
        boundaries += [one.rstrip() for one in names.parameters(value, b"boundary")]
    if len(boundaries) > _BOUNDARIES:
        raise BoundError(f"over {_BOUNDARIES} boundaries in one header")
    return Head(
        tuple(dict.fromkeys(types)),
        tuple(dict.fromkeys(raw)),
        tuple(dict.fromkeys(boundaries)),
        _encodings(encodings),
        attached,
        body,
    )


def _text(octets: Octets, at: int, end: int, budget: Budget) -> tuple[bytes, int]:
    """The header without its empty line, and where the body begins. Raises BoundError."""
    if octets[at : at + 2] == b"\r\n":
        return b"", at + 2
    if octets[at : at + 1] == b"\n":
        return b"", at + 1
    most = budget.bounds.header
    for size in (min(_FIRST, most), most):
        text = octets[at : min(at + size, end)]
        feed = text.find(b"\n\n")
        crlf = text.find(b"\n\r\n")
        if feed >= 0 and (crlf < 0 or feed < crlf):
            return text[: feed + 1], at + feed + 2
        if crlf >= 0:
            return text[: crlf + 1], at + crlf + 3
        if at + size >= end:
            return text, end
    raise BoundError(f"a header of over {most} octets")


def _boundary(lines: bytes, at: int, announced: Collection[bytes]) -> int:
    """Where from `at` on the first line is that an announced boundary stands in; -1 if there is none."""
    for match in _DASHES.finditer(lines, at):
        rest = match[1].rstrip()
        if rest in announced or rest.removesuffix(b"--") in announced:
            return match.start()
    return -1


def _offset(text: bytes, lines: bytes, at: int) -> int:
    """Where the line that begins at `at` in `lines` begins in `text`, whose line ends are one or two octets."""
    number = lines.count(b"\n", 0, at)
    place = 0
    for match in re.finditer(rb"\r\n|\r|\n", text):
        if not number:
            break
        number -= 1
        place = match.end()
    return place


def _encodings(values: Sequence[bytes]) -> tuple[str, ...]:
    """What the part may be encoded in; a word that nobody knows is read as none and as base64."""
    found: list[str] = []
    for value in values:
        word = names.COMMENT.sub(b"", value).strip(b" \t\"';").lower()
        if b"base64" in word:
            found.append(BASE64)
        elif b"quoted" in word:
            found.append(QUOTED)
        elif b"uu" in word:
            found.append(UU)
        elif word in (b"7bit", b"8bit", b"binary", b""):
            found.append(IDENTITY)
        else:
            found += [IDENTITY, BASE64]
    if len(found) > 1:
        found.append(IDENTITY)
    return tuple(dict.fromkeys(found)) or (IDENTITY,)
