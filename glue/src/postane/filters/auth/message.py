"""A message as the authentication methods need it: its header fields, and hashes of its body in every form asked for.

It is read once, in pieces; the body itself is not kept. Bare LF counts as CRLF.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postane.filters.auth import tags
from postane.filters.auth.canonical import BodyHash, Piece, relaxed_field, with_crlf

MAX_HEAD = 2 * 1024 * 1024  # octets of the header; a message with more is not looked into
MAX_LINES = 100_000  # of the header
MAX_SIGNATURES = 10  # DKIM signatures that are tried, from the top
MAX_INSTANCES = 50  # ARC sets, RFC 8617 section 4.2.1

_HASHING = {b"dkim-signature": MAX_SIGNATURES, b"arc-message-signature": MAX_INSTANCES}


@dataclass(frozen=True, slots=True)
class Field:
    """A header field. `name` is in lower case and without white space before the colon; "" for a line without one.

    `raw` is all of it as it came, folded, without the CRLF at its end.
    """

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        return self.raw.partition(b":")[2]

    def canonical(self, *, relaxed: bool) -> bytes:
        """With CRLF, RFC 6376 sections 3.4.1 and 3.4.2."""
        return (relaxed_field(self.name, self.value) if relaxed else self.raw) + b"\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """`bodies` has a finished hash for each form (relaxed or not) that a signature in `fields` wants.

    `problem` is empty, or says why the header cannot be trusted to have been read at all; then `fields` is empty.
    `names` has the same fields by their names.
    """

    fields: tuple[Field, ...]
    bodies: Mapping[bool, BodyHash]
    problem: str = ""
    names: Mapping[bytes, Sequence[Field]] = field(default_factory=dict)

    def named(self, name: bytes) -> Sequence[Field]:
        return self.names.get(name, ())


def read(pieces: Iterable[Piece]) -> Message:
    """Reads a message to its end, unless its header has none. CPU only, in proportion to its size; never raises."""
    rest = with_crlf(pieces)
    head, first = _head(rest)
    if head is None or too_long(head):
        return Message((), {}, f"the header has over {MAX_HEAD} octets or {MAX_LINES} lines")
    fields = split(head)
    names: dict[bytes, list[Field]] = {}
    for one in fields:
        names.setdefault(one.name, []).append(one)
    bodies = _bodies(fields)
    for body in bodies.values():
        body.feed([first])
    for piece in rest:
        for body in bodies.values():
            body.feed([piece])
    for body in bodies.values():
        body.finish()
    return Message(fields, bodies, "", names)


def too_long(head: bytes | bytearray) -> bool:
    """True for a header that nobody sends and that only costs."""
    return len(head) > MAX_HEAD or head.count(b"\r\n") >= MAX_LINES


def split(head: bytes) -> tuple[Field, ...]:
    """The fields of a header, with CRLF line ends, folded lines with their field."""
    fields: list[Field] = []
    lines: list[bytes] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and lines:
            lines.append(line)
            continue
        if lines:
            fields.append(_field(b"\r\n".join(lines)))
        lines = [line] if line else []
    if lines:
        fields.append(_field(b"\r\n".join(lines)))
    return tuple(fields)


def _field(raw: bytes) -> Field:
    name, colon, _ = raw.partition(b":")
    # The colon must stand in the first line; else it belongs to a line that is no field.
    return Field(name.rstrip(b" \t").lower() if colon and b"\r\n" not in name else b"", raw)


def _head(rest: Iterator[bytes]) -> tuple[bytes | None, bytes]:
    """All before the empty line, without its CRLF, and what of the body came with it."""
    head = bytearray()
    for piece in rest:
        searched = max(0, len(head) - 3)
        head += piece
        if head.startswith(b"\r\n"):
            return b"", bytes(head[2:])
        end = head.find(b"\r\n\r\n", searched)
        if 0 <= end <= MAX_HEAD:
            return bytes(head[:end]), bytes(head[end + 4 :])
        if len(head) > MAX_HEAD:
            return None, b""
    return bytes(head.removesuffix(b"\r\n")), b""


def _bodies(fields: Iterable[Field]) -> dict[bool, BodyHash]:
    """One hash for each canonical form that the signatures name, with all their `l=` in it."""
    left = dict(_HASHING)
    wanted: dict[bool, set[int]] = {}
    for one in fields:
        if left.get(one.name, 0) > 0:
            left[one.name] -= 1
            form = body_form(one.value)
            if form is not None:
                lengths = wanted.setdefault(form[0], set())
                if form[1] is not None:
                    lengths.add(form[1])
    return {relaxed: BodyHash(relaxed=relaxed, lengths=lengths) for relaxed, lengths in wanted.items()}


def body_form(signature: bytes) -> tuple[bool, int | None] | None:
    """The `c=` of the body (True: relaxed) and the `l=` of a signature; None where it cannot be read."""
    try:
        found = tags.parse(signature)
        _, relaxed = canonicalization(found.get("c", ""))
        return relaxed, tags.number(found["l"]) if "l" in found else None
    except tags.TagError:
        return None


def canonicalization(value: str) -> tuple[bool, bool]:
    """A `c=` tag as (header relaxed, body relaxed), RFC 6376 section 3.5. Raises TagError."""
    header, _, body = (tags.packed(value) or "simple").partition("/")
    forms = {"simple": False, "relaxed": True, "": False}
    if header not in ("simple", "relaxed") or body not in forms:
        raise tags.TagError(f"c={value} is not known")
    return forms[header], forms[body]
