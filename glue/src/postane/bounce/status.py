"""The machine-readable part of a notice: message/delivery-status (RFC 3464), or its UTF-8 form (RFC 6533). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.utils import formatdate

from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import AddressError
from postane.core.outcome import Action, Outcome

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MOST_WORDS = 700  # characters of a server's answer; a field fits into one line (RFC 5322 section 2.1.1)


def fields(
    host: str,
    envelope: Envelope,
    action: Action,
    about: Sequence[tuple[Recipient, Outcome]],
    *,
    now: float,
    until: float,
    utf8: bool,
) -> str:
    """All fields, one paragraph for the message and one for each recipient, with CRLF line ends."""
    message = [f"Reporting-MTA: dns; {host}"]
    if envelope.envid:
        message.append(f"Original-Envelope-Id: {_safe(unxtext(envelope.envid), utf8=utf8)}")
    message.append(f"Arrival-Date: {formatdate(envelope.received_at, localtime=True)}")
    paragraphs = [message]
    for recipient, outcome in about:
        reply = outcome.reply
        lines = []
        if recipient.orcpt:
            kind, _, address = recipient.orcpt.partition(";")
            lines.append(f"Original-Recipient: {_safe(kind, utf8=utf8)}; {_safe(unxtext(address), utf8=utf8)}")
        elif recipient.original and recipient.original != recipient.address:
            lines.append(f"Original-Recipient: {_typed(recipient.original, utf8=utf8)}")
        lines.append(f"Final-Recipient: {_typed(recipient.address, utf8=utf8)}")
        lines.append(f"Action: {action.value}")
        lines.append(f"Status: {reply.enhanced or f'{reply.code // 100}.0.0'}")
        remote = remote_name(outcome)
        if remote:
            lines.append(f"Remote-MTA: dns; {_safe(remote, utf8=utf8)}")
            lines.append(f"Diagnostic-Code: smtp; {words(outcome, utf8=utf8)}")
        elif not reply.ok:
            lines.append(f"Diagnostic-Code: x-postane; {words(outcome, utf8=utf8)}")
        if action is Action.DELAYED:
            lines.append(f"Will-Retry-Until: {formatdate(until, localtime=True)}")
        elif not reply.ok:
            lines.append(f"Last-Attempt-Date: {formatdate(now, localtime=True)}")
        paragraphs.append(lines)
    return "\r\n\r\n".join("\r\n".join(lines) for lines in paragraphs) + "\r\n"


def remote_name(outcome: Outcome) -> str:
    """The server that spoke, without its address: "mx.example.net[192.0.2.1]" → "mx.example.net"."""
    return outcome.remote.partition("[")[0] or outcome.remote


def words(outcome: Outcome, *, utf8: bool = True) -> str:
    """What was said, on one line."""
    return _safe(str(outcome.reply), utf8=utf8)[:_MOST_WORDS]


def unxtext(text: str) -> str:
    """Undoes xtext (RFC 3461 section 4)."""
    return re.sub(r"\+([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text)


def _typed(address: str, *, utf8: bool) -> str:
    """`rfc822; a@b`, or the address types of RFC 6533 section 3 for a local part in UTF-8."""
    try:
        parsed = Address.parse(address)
    except AddressError:
        return f"rfc822; {_safe(address, utf8=utf8)}"
    if parsed.is_ascii:
        return f"rfc822; {parsed.for_wire(smtputf8=False)}"
    if utf8:
        return f"utf-8; {address}"
    return "utf-8; " + "".join(c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):X}}}" for c in address)


def _safe(text: str, *, utf8: bool) -> str:
    """On one line, and in ASCII unless the UTF-8 form may be used: words of others must never make a field."""
    line = _CONTROL.sub(" ", text).strip()
    return line if utf8 else line.encode("ascii", "replace").decode()
