"""A delivery status notification as octets: multipart/report (RFC 6522) of words, fields and what was sent.

Pure: told all it says, it touches neither clock nor disk. The original is put in as it lies, never copied together.
Sources: RFC 3464 (delivery status), RFC 6533 (its UTF-8 forms), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import formatdate
from functools import cache

import jinja2

from postane.bounce import status
from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Action, Outcome

LANGUAGES = ("en", "tr")
FULL_MOST = 1024 * 1024  # a larger original comes back as its headers only
_HEADERS_MOST = 64 * 1024

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r\n[ \t]+)?(<[\x21-\x7e]{1,250}>)", re.I | re.M)

Piece = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Text:
    """A core.ports.Body of pieces that are in memory already."""

    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        return sum(len(piece) for piece in self.pieces)

    def chunks(self) -> Sequence[Piece]:
        return self.pieces

    def bytes(self) -> bytes:
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Report:
    """A notice to be: `envelope` is that of the message it is about, `until` when the queue gives up."""

    host: str
    id: str
    action: Action
    envelope: Envelope
    about: Sequence[tuple[Recipient, Outcome]]
    now: float
    until: float
    language: str = "en"

    @property
    def utf8(self) -> bool:
        """Whoever sent by SMTPUTF8 can be answered in it; anyone else gets the ASCII forms."""
        return self.envelope.smtputf8


def build(report: Report, original: Iterable[Piece], size: int) -> Text:
    """The whole notice, headers and all, for the sender of `original` (`size` octets)."""
    pieces = list(original)
    head = _head_of(pieces)
    full = report.action is Action.FAILED and report.envelope.ret != "HDRS" and size <= FULL_MOST
    boundary = f"=_{report.id}"
    subject, words = _words(report)
    status_part = status.fields(
        report.host,
        report.envelope,
        report.action,
        report.about,
        now=report.now,
        until=report.until,
        utf8=report.utf8,
    )
    parts: list[Piece] = [
        _headers(report, head, subject, boundary),
        _part(boundary, "text/plain; charset=utf-8", words.encode()),
        _part(boundary, f"message/{'global-' if report.utf8 else ''}delivery-status", status_part.encode()),
    ]
    returned: list[Piece] = pieces if full else [head]
    eight = any(not bytes(piece).isascii() for piece in returned)
    # Raw UTF-8 in the headers makes it a message/global, whatever the sender declared.
    if head.isascii():
        kind = "message/rfc822" if full else "text/rfc822-headers"
    else:
        kind = "message/global" if full else "message/global-headers"
    parts.append(_part_head(boundary, kind, "8bit" if eight else "7bit"))
    parts.extend(returned)
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return Text(tuple(parts))


def _headers(report: Report, head: bytes, subject: str, boundary: str) -> bytes:
    lines = [
        f"Date: {formatdate(report.now, localtime=True)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{report.host}>",
        f"To: <{report.envelope.sender}>",
        f"Subject: {Header(subject, 'us-ascii' if subject.isascii() else 'utf-8', header_name='Subject').encode()}",
        f"Message-ID: <{report.id}@{report.host}>",
    ]
    found = _MESSAGE_ID.search(head)
    if found:
        # So that the notice stands beside the message that it is about.
        lines += [f"In-Reply-To: {found[1].decode()}", f"References: {found[1].decode()}"]
    lines += [
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type="
        f'{"global-" if report.utf8 else ""}delivery-status;\r\n\tboundary="{boundary}"',
        "",
        "",
    ]
    return "\r\n".join(line.replace("\n", "\r\n").replace("\r\r\n", "\r\n") for line in lines).encode()


def _part_head(boundary: str, kind: str, encoding: str) -> bytes:
    return f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()


def _part(boundary: str, kind: str, text: bytes) -> bytes:
    return _part_head(boundary, kind, "7bit" if text.isascii() else "8bit") + text


def _head_of(pieces: Sequence[Piece]) -> bytes:
    """The headers of a message, with the CRLF of the last one."""
    head = b""
    for piece in pieces:
        head += bytes(piece[:_HEADERS_MOST])
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return head[: end + 2]
        if len(head) >= _HEADERS_MOST:
            break
    return head[: head.rfind(b"\r\n") + 2]


def _words(report: Report) -> tuple[str, str]:
    """Subject and text for people: the template's first line and the rest, with CRLF line ends."""
    recipients = [
        {
            "address": recipient.address,
            "original": recipient.original if recipient.original != recipient.address else "",
            "said": status.words(outcome),
            "server": status.remote_name(outcome),
            "status": outcome.reply.enhanced or f"{outcome.reply.code // 100}.0.0",
            "expired": outcome.reply.enhanced == "4.4.7" and report.action is Action.FAILED,
        }
        for recipient, outcome in report.about
    ]
    rendered = _template(report.language).render(
        action=report.action.value,
        host=report.host,
        recipients=recipients,
        arrived=formatdate(report.envelope.received_at, localtime=True),
        until=formatdate(report.until, localtime=True),
        id=report.envelope.id,
    )
    subject, _, text = rendered.partition("\n")
    return subject.strip(), text.strip("\n").replace("\n", "\r\n") + "\r\n"


@cache
def _template(language: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("postane.bounce"),
        autoescape=False,  # noqa: S701 - plain text, one line for each value
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{language if language in LANGUAGES else LANGUAGES[0]}.txt.j2")
