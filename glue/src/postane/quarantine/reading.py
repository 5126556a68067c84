"""What a person is shown of a suspect message: its author, its subject, its headers, the beginning of its text. Pure.

Everything is bounded before it is parsed and cleaned after: no control character, no escape sequence of a terminal and
no mark that turns the direction of writing comes through, whatever the sender wrote. Nothing is executed or fetched.
Nothing here raises for what a message holds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from html import unescape

MOST_HEAD = 64 * 1024  # octets of a header section that are looked at
_MOST_FIELD = 2000  # octets of one field that are decoded
_MOST_PARSED = 256 * 1024  # octets of a message that are parsed for a preview
_MOST_PARTS = 50

Piece = bytes | bytearray | memoryview

_MARKS = re.compile(rb"^(?:x-spam|x-spam-marked)[ \t]*:.*?\r?\n(?![ \t])", re.I | re.M | re.S)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ud800-\udfff]"
)
_DROPPED = re.compile(r"<(script|style|head|title)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.I | re.S)
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h[1-6]|/li)\b[^>]*>", re.I)
_TAG = re.compile(r"<[^>]*>")


def beginning(pieces: Iterable[Piece], most: int) -> bytes:
    """The first octets of a message, at most so many."""
    found = bytearray()
    for piece in pieces:
        found += memoryview(piece)[: most - len(found)]
        if len(found) >= most:
            break
    return bytes(found)


def header_end(octets: bytes) -> int:
    """Where the empty line behind the header section begins: behind the line end of the last field."""
    if octets.startswith(b"\r\n"):
        return 0
    end = octets.find(b"\r\n\r\n")
    return len(octets) if end < 0 else end + 2


def field(head: bytes, name: str) -> str:
    """The first field of that name, unfolded, decoded, cleaned, on one line; "" if there is none."""
    found = re.search(rb"^%s[ \t]*:((?:.*\n(?=[ \t]))*.*)" % re.escape(name.encode()), head, re.I | re.M)
    return shown(decoded(found[1][:_MOST_FIELD]), 300) if found else ""


def decoded(value: bytes) -> str:
    """Encoded words (RFC 2047) and raw octets as text."""
    text = " ".join(_text(value, "utf-8").split())
    if "=?" not in text:
        return text
    try:
        return "".join(
            piece if isinstance(piece, str) else _text(piece, charset or "utf-8")
            for piece, charset in decode_header(text)
        )
    except (HeaderParseError, ValueError, LookupError):
        return text


def _text(octets: bytes, charset: str) -> str:
    """Octets of no charset that holds are read as Turkish Windows wrote them: that is what still sends raw 8 bits."""
    try:
        return octets.decode(charset)
    except (UnicodeDecodeError, LookupError, ValueError):
        pass
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("cp1254", "replace")


def shown(text: str, most: int) -> str:
    """On one line, without what cannot be seen."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def clean(text: str) -> str:
    """Line feeds and tabs stay; what steers a terminal or turns the writing does not."""
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def without_marks(head: bytes) -> bytes:
    """A header section without the fields by which a mailbox files into Junk."""
    return _MARKS.sub(b"", head)


def preview(octets: bytes, most: int = 2000) -> str:
    """The first characters that a reader would see, as plain text; HTML without its tags."""
    try:
        message = BytesParser(policy=policy.compat32).parsebytes(octets[:_MOST_PARSED])
        texts = list(_texts(message))
    except Exception:  # the parser of the standard library meets what was made to break it
        return ""
    plain = next((text for kind, text in texts if kind == "text/plain" and text.strip()), "")
    html = next((text for kind, text in texts if kind == "text/html"), "")
    text = clean(plain or _stripped(html))
    lines = [line.rstrip() for line in text.splitlines()]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def attachments(octets: bytes) -> list[str]:
    """The names of what a message brings, as far as its beginning tells."""
    try:
        message = BytesParser(policy=policy.compat32).parsebytes(octets[:_MOST_PARSED])
        return [shown(decoded(name.encode("utf-8", "surrogateescape")), 100) for name in _names(message)]
    except Exception:
        return []


def _names(message: Message) -> Iterator[str]:
    for number, part in enumerate(message.walk()):
        if number >= _MOST_PARTS:
            return
        name = part.get_filename()
        if name:
            yield name[:_MOST_FIELD]


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for number, part in enumerate(message.walk()):
        if number >= _MOST_PARTS:
            return
        kind = part.get_content_type()
        if kind not in ("text/plain", "text/html") or part.get_filename():
            continue
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield kind, _text(payload, part.get_content_charset() or "utf-8")


def _stripped(html: str) -> str:
    return unescape(_TAG.sub("", _BREAK.sub("\n", _DROPPED.sub("", html))))
