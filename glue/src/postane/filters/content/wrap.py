"""Puts a message into a multipart/mixed with something behind it, without altering an octet of it. Pure.

The message as it is, header and all, becomes the first part: of a part's header only the Content- fields mean anything
(RFC 2046 section 5.1), so those stay where they are and the others are repeated above. What a signature within the
message covers is not touched.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from postane.filters.auth.message import Field, split

# Types whose programs want the message to be nothing else, or that nobody reads.
_CLOSED = re.compile(
    rb"(?:multipart/(?:signed|encrypted|report)|application/(?:x-)?pkcs7|application/pgp|application/ms-tnef"
    rb"|text/calendar|message/)",
    re.IGNORECASE,
)
_TYPE = re.compile(rb"^content-type[ \t]*:(?:\r\n)?[ \t]*([^\r\n;]+)", re.IGNORECASE | re.MULTILINE)
_ARMOR = re.compile(rb"^-----BEGIN PGP ", re.MULTILINE)
_HEADER_PROTECTION = re.compile(rb";\s*(?:hp|protected-headers)\s*=", re.IGNORECASE)  # RFC 9788
_NAME = re.compile(rb"[!-9;-~]+:")
_LEFT = (b"content-", b"mime-version", b"authentication-results", b"received", b"return-path", b"x-spam", b"x-postane")
_PARTS = 200  # types that are looked at


@dataclass(frozen=True, slots=True)
class Words:
    """What is put behind a message: text, and the same as HTML if there is any."""

    text: str
    html: str = ""


def closed(header: bytes, body: bytes) -> str:
    """Why nothing can be added to a message; "" if it can. `body` is its beginning."""
    fields = split(header)
    names = [field.name for field in fields]
    if any(name in names for name in (b"dkim-signature", b"list-id", b"arc-seal")):
        return "somebody has signed it, or a list sends it"
    if any(names.count(name) > 1 for name in (b"content-type", b"mime-version", b"content-transfer-encoding")):
        return "it says twice what it is"
    automatic = [field.value.strip().lower() for field in fields if field.name == b"auto-submitted"]
    if any(value != b"no" for value in automatic):
        return "a program sends it"
    if any(_HEADER_PROTECTION.search(field.raw) for field in fields if field.name == b"content-type"):
        return "its header is protected"
    for number, match in enumerate(_TYPE.finditer(header + b"\r\n\r\n" + body)):
        if number == _PARTS or _CLOSED.match(match[1]):
            return f"it has a part of the type {match[1].decode('ascii', 'replace').strip()[:60]}"
    return "it has a part in PGP armor" if _ARMOR.search(body) else ""


def wrap(header: bytes, words: Words, boundary: str, *, ascii_only: bool) -> tuple[bytes, bytes]:
    """What stands above the message and what behind it. `header` is without the empty line behind it."""
    above = [field.raw + b"\r\n" for field in split(header) if not _of_part(field)]
    eight = b"" if ascii_only else b"Content-Transfer-Encoding: 8bit\r\n"
    kind = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"\r\n' % boundary.encode()
    head = b"".join(above) + kind + eight + b"\r\n--" + boundary.encode() + b"\r\n"
    tail = b"\r\n--%s\r\n%s\r\n--%s--\r\n" % (boundary.encode(), _part(words, boundary), boundary.encode())
    return head, tail


def _of_part(field: Field) -> bool:
    """What belongs to the part; what claims to be a server's own word, or is no field, means nothing down there."""
    return not _NAME.match(field.raw) or field.name.startswith(_LEFT)


def _part(words: Words, boundary: str) -> bytes:
    plain = _leaf("plain", words.text)
    if not words.html:
        return plain
    inner = f"{boundary}a".encode()
    kind = b'Content-Type: multipart/alternative; boundary="%s"\r\n' % inner
    return kind + b"\r\n--%s\r\n%s\r\n--%s\r\n%s\r\n--%s--" % (inner, plain, inner, _leaf("html", words.html), inner)


def _leaf(kind: str, text: str) -> bytes:
    lines = base64.encodebytes("\r\n".join(text.splitlines()).encode()).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    return (
        b"Content-Type: text/%s; charset=utf-8\r\nContent-Disposition: inline\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n%s"
    ) % (kind.encode(), lines)
