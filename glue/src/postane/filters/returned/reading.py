"""What a message with the null sender is: a report that something could not be delivered, or an answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from postane.filters.auth.identity import authors

_FIELD = rb"(?:^|\r\n)%s[ \t]*:((?:[^\r\n]|\r\n[ \t])*)"
_TYPE = re.compile(_FIELD % rb"content-type", re.IGNORECASE)
_REPORT = re.compile(rb"report-type[ \t]*=[ \t]*\"?(?:global-)?delivery-status\b", re.IGNORECASE)
_DAEMONS = ("mailer-daemon", "postmaster")
_MESSAGE_ID = re.compile(_FIELD % rb"message-id", re.IGNORECASE)
_ANSWERS = re.compile(_FIELD % rb"(?:in-reply-to|references)", re.IGNORECASE)
_QUOTED = re.compile(rb"(?:^|\n)[> \t]*(?:original-)?message-id[ \t]*:[ \t]*(?:\r\n[ \t]+)?(<[^<>\s]{1,250}>)", re.I)
_ID = re.compile(rb"<[^<>\s]{1,250}>")
_MOST = 5  # message ids that are asked about


def is_report(header: bytes, *, null_sender: bool) -> bool:
    """True for a delivery status notification (RFC 3464), and for what mail systems wrote before there was one."""
    kind = _TYPE.search(header)
    if kind is not None and kind[1].lstrip(b" \t\r\n")[:16].lower() == b"multipart/report":
        return _REPORT.search(kind[1]) is not None
    return null_sender and any(one.key_local in _DAEMONS for one in authors(header)[1])


def message_id(header: bytes) -> bytes:
    """With its angle brackets; b"" if there is none."""
    field = _MESSAGE_ID.search(header)
    found = _ID.search(field[1]) if field else None
    return found[0] if found else b""


def answered(header: bytes, body: bytes) -> list[bytes]:
    """The message ids that it answers: of its header, of a receipt (RFC 8098), of a header that it quotes."""
    return list(dict.fromkeys(_answered(header, body)))[:_MOST]


def _answered(header: bytes, body: bytes) -> Iterator[bytes]:
    fields = [_ID.findall(match[1]) for match in _ANSWERS.finditer(header)]
    for ids in fields:
        yield from reversed(ids[-2:])  # the last of References is what is answered
    for number, match in enumerate(_QUOTED.finditer(body)):
        if number == _MOST:
            return
        yield match[1]
