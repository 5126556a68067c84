"""Tells what a message carries: every part and every member of every archive, with names and kinds, as a flat list.

CPU only and bounded (see budget.Bounds); a message that passes a bound has the items that were found until then, and
says so. Nothing that a message holds makes this raise but what the system raises (OSError, MemoryError).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain

from postane.filters.content import cab, documents, mime, ole, rar, sevenzip, tar, tnef, unpack
from postane.filters.content import zip as zip_archive
from postane.filters.content.archive import UNREADABLE, Member
from postane.filters.content.budget import BoundError, Bounds, Budget, DamagedError
from postane.filters.content.decode import BASE64, IDENTITY, decode, uu_lines, uu_parts
from postane.filters.content.kinds import (
    BZIP2,
    CAB,
    CONTAINERS,
    GZIP,
    HEAD,
    HTML,
    MAIL,
    OLE,
    PDF,
    RAR,
    RTF,
    SEVENZIP,
    TAIL,
    TAR,
    TNEF,
    XZ,
    ZIP,
    kinds,
)
from postane.filters.content.names import extension, readings, turned
from postane.filters.content.octets import Octets, keep

TURNED, PARTIAL, EXTERNAL = "turned_name", "partial", "external_body"

_MEMBERS: dict[str, Callable[[Octets, Budget], Iterator[Member]]] = {
    ZIP: zip_archive.members,
    TAR: tar.members,
    CAB: cab.members,
    RAR: rar.members,
    SEVENZIP: sevenzip.members,
    OLE: ole.members,
    TNEF: tnef.members,
}
_STREAMS: dict[str, Callable[[Octets, Budget], Iterator[bytes]]] = {
    GZIP: unpack.gzip,
    BZIP2: lambda octets, budget: unpack.bzip2(octets, 0, len(octets), budget),
    XZ: unpack.xz,
}
_DOCUMENTS: dict[str, Callable[[Octets, Budget], set[str]]] = {
    PDF: documents.pdf,
    RTF: documents.rtf,
    HTML: documents.html,
}
# A program opens these by their name, whatever stands before the archive.
_BY_NAME = {"zip": ZIP, "jar": ZIP, "docx": ZIP, "xlsx": ZIP, "pptx": ZIP, "docm": ZIP, "xlsm": ZIP, "tar": TAR}
_MAIL_NAMES = frozenset(("eml", "mht", "mhtml", "nws"))
_LIGHT = frozenset((HTML, RTF, MAIL))
_INNER = {"tgz": "tar", "tbz": "tar", "tbz2": "tar", "txz": "tar"}
# Octets of a compressed file that are unpacked only to see whether it is a bomb.
_FEW, _MANY = 12_000_000, 64_000_000
_TYPES, _RELATIONS = 1_000_000, 100_000  # octets of [Content_Types].xml, and of a list of relations


@dataclass(frozen=True, slots=True)
class Item:
    """A part or a member. `path`: the names of what it lies in, the outermost first; `names`: all that it may have.

    `kinds` are what its octets are (see kinds), and marks: macros, encrypted, unreadable, turned_name, partial, ….
    `shown`: it is text that mail programs display, not an attachment.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]
    kinds: frozenset[str]
    shown: bool = False

    def __str__(self) -> str:
        return "/".join((*self.path, self.names[-1] if self.names else "a part without a name"))


@dataclass(frozen=True, slots=True)
class Contents:
    """`bound` names the bound that was passed, "" if all was seen."""

    items: tuple[Item, ...]
    bound: str = ""


def inspect(octets: Octets, bounds: Bounds, *, until: float | None = None, light: bool = False) -> Contents:
    """Raises LaterError if `light` and the work is more than a few milliseconds, OSError where no file can be made.

    `until`: a time of time.monotonic() that comes before the end of `bounds.seconds`.
    """
    budget = Budget.of(bounds, light=light)
    if until is not None:
        budget.until = min(budget.until, until)
    found = _Inspection(budget)
    try:
        found.message(octets, (), 0)
    except BoundError as error:
        return Contents(tuple(found.items), str(error))
    return Contents(tuple(found.items))


class _Inspection:
    def __init__(self, budget: Budget) -> None:
        self.items: list[Item] = []
        self._budget = budget

    def message(self, octets: Octets, path: tuple[str, ...], depth: int, mime_depth: int = 0) -> None:
        """`depth` counts archives, `mime_depth` parts."""
        for part in mime.parts(octets, self._budget, mime_depth):
            self._part(octets, part, path, depth)

    def _part(self, octets: Octets, part: mime.Part, path: tuple[str, ...], depth: int) -> None:
        head = part.head
        names = readings(head.names)
        marks = {TURNED} if turned(head.names) else set()
        if "message/partial" in head.types:
            marks.add(PARTIAL)
        if "message/external-body" in head.types:
            marks.add(EXTERNAL)
        shown = not names and not head.attached and (not head.types or any(t.startswith("text/") for t in head.types))
        seen = False
        for start in head.body:
            if start > part.end:
                continue
            seen = True
            for encoding in head.encodings:
                make = partial(decode, octets, start, part.end, encoding, self._budget)
                nested = None
                if encoding != IDENTITY and (head.message or head.multipart):
                    nested = part.depth + 1
                self._leaf(make, names, marks, path, depth, shown, nested, head, part.depth)
                if encoding != BASE64:
                    self._uuencoded(octets, start, part.end, path, depth, part.depth)
        if not seen and (names or marks):
            self._add(Item(path, tuple(names), frozenset(marks)))

    def _uuencoded(self, octets: Octets, start: int, end: int, path: tuple[str, ...], depth: int, nest: int) -> None:
        for raw, at in uu_parts(octets, start, end, self._budget):
            self._budget.part(nest)
            make = partial(uu_lines, octets, at, end, self._budget)
            self._leaf(make, readings((raw,)), set(), path, depth, False, None, None, nest)

    def _leaf(
        self,
        make: Callable[[], Iterator[bytes]],
        names: list[str],
        marks: set[str],
        path: tuple[str, ...],
        depth: int,
        shown: bool,
        nested: int | None,
        head: mime.Head | None,
        nest: int,
    ) -> None:
        """A part in one of its readings: its content read to the end, kept only if it is looked into."""
        stream = make()
        first = _first(stream)
        found = kinds(first, first[-TAIL:])
        rest: Iterable[bytes] = stream
        if nested is None and not found & CONTAINERS and not _named(names):
            tail = first[-TAIL:]
            for piece in stream:
                tail = (tail + piece)[-TAIL:]
            if not (found := kinds(first, tail)) & CONTAINERS:
                self._add(Item(path, tuple(names), found | marks, shown))
                return
            stream = make()  # it says only at its end what it is
            first, rest = _first(stream), stream
        if shown and found <= _LIGHT and nested is None and MAIL not in found:
            for _ in rest:
                pass
            self._add(Item(path, tuple(names), found | marks, shown))
            return
        whole = keep(chain((first,), rest))
        if nested is not None and head is not None:
            self._add(Item(path, tuple(names), found | marks, shown))
            if head.multipart:
                lines = b"".join(b'Content-Type: multipart/mixed; boundary="%s"\r\n' % one for one in head.boundaries)
                whole = keep((lines + b"\r\n", *_pieces(whole)))
            self.message(whole, path, depth, nested)
            return
        self._content(whole, names, marks, path, depth, shown, nest)

    def _content(
        self,
        octets: Octets,
        names: list[str],
        marks: set[str],
        path: tuple[str, ...],
        depth: int,
        shown: bool = False,
        nest: int = 0,
    ) -> None:
        """Content that is there as a whole."""
        found = set(kinds(octets[:HEAD], octets[max(0, len(octets) - TAIL) :]))
        extensions = {extension(name) for name in names}
        found |= {
            _BY_NAME[one] for one in extensions & _BY_NAME.keys() if _BY_NAME[one] == ZIP and b"PK" in octets[:64]
        }
        if found & CONTAINERS - _LIGHT:
            self._budget.heavy()
        for kind in sorted(found & _DOCUMENTS.keys()):
            found |= _DOCUMENTS[kind](octets, self._budget)
        inner = (*path, names[-1] if names else "a part without a name")
        if OLE in found:
            found |= ole.marks(octets, self._budget)
        place = len(self.items)
        for kind in sorted(found & _MEMBERS.keys()):
            found |= self._archive(kind, octets, inner, depth + 1)
        for kind in sorted(found & _STREAMS.keys()):
            self._budget.nested(depth + 1)
            read = partial(_STREAMS[kind], octets, self._budget)
            most = min(max(len(octets) * (self._budget.bounds.ratio + 1), _FEW), _MANY)
            self._member(Member(_inner_names(names), read=read), inner, depth + 1, most)
        if (MAIL in found and (not shown or extensions & _MAIL_NAMES)) or extensions & _MAIL_NAMES:
            self.message(octets, inner, depth, nest + 1)
        self._budget.named(sum(map(len, names)))
        self.items.insert(place, Item(path, tuple(names), frozenset(found | marks), shown))

    def _archive(self, kind: str, octets: Octets, path: tuple[str, ...], depth: int) -> set[str]:
        """Adds the members; returns marks of the archive as a whole."""
        self._budget.nested(depth)
        found: set[str] = set()
        names: list[str] = []
        types = b""
        try:
            for member in _MEMBERS[kind](octets, self._budget):
                if not member.names and member.read is None:
                    found |= member.marks
                    continue
                if kind == ZIP:
                    names += [one.decode("utf-8", "replace") for one in member.names]
                    types += self._told(member, b"[Content_Types].xml", _TYPES)
                    if documents.remote(self._told(member, b".rels", _RELATIONS)):
                        found.add("remote_template")
                self._member(member, path, depth)
        except (DamagedError, struct.error, IndexError, ValueError, OverflowError):  # nothing in it is to be trusted
            found.add(UNREADABLE)
        return found | documents.package(names, types) if names else found

    def _told(self, member: Member, ending: bytes, most: int) -> bytes:
        """The first octets of a member that is read for what it says of others, if this is one; else nothing."""
        if member.read is None or not any(name.endswith(ending) for name in member.names):
            return b""
        with suppress(DamagedError):
            return _start(member.read, most)
        return b""

    def _member(self, member: Member, path: tuple[str, ...], depth: int, most: int = 0) -> None:
        """`most`: octets that are read on, though nobody needs them, to see what it would unpack to."""
        names = readings(member.names)
        marks = set(member.marks)
        if turned(member.names):
            marks.add(TURNED)
        if member.read is None:
            self._add(Item(path, tuple(names), frozenset(marks)))
            return
        try:
            stream = member.read()
            first = _first(stream)
            if kinds(first, first[-TAIL:]) & CONTAINERS or _named(names):
                self._content(keep(chain((first,), stream)), names, marks, path, depth)
                return
            for piece in stream:
                most -= len(piece)
                if most <= 0:
                    break
        except DamagedError:
            self._add(Item(path, tuple(names), frozenset(marks | {UNREADABLE})))
            return
        self._add(Item(path, tuple(names), kinds(first, first[-TAIL:]) | marks))

    def _add(self, item: Item) -> None:
        self._budget.named(sum(map(len, item.names)))
        self.items.append(item)


def _named(names: Iterable[str]) -> bool:
    return any(extension(name) in _BY_NAME or extension(name) in _MAIL_NAMES for name in names)


def _inner_names(names: Iterable[str]) -> tuple[bytes, ...]:
    """What a compressed file is called when it is unpacked."""
    found = []
    for name in names:
        stem, _, last = name.rpartition(".")
        inner = _INNER.get(last.casefold())
        found.append((f"{stem}.{inner}" if inner else stem or name).encode("utf-8", "replace"))
    return tuple(found)


def _first(stream: Iterator[bytes]) -> bytes:
    """At least the first HEAD octets, if there are as many."""
    found = b""
    for piece in stream:
        found = found + piece if found else piece
        if len(found) >= HEAD:
            break
    return found


def _start(read: Callable[[], Iterator[bytes]], most: int) -> bytes:
    found = b""
    for piece in read():
        found += piece
        if len(found) >= most:
            break
    return found[:most]


def _pieces(octets: Octets) -> Iterator[bytes | memoryview]:
    yield memoryview(octets) if isinstance(octets, mmap.mmap) else octets
