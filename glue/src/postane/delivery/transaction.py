"""What we ask of a server for a message: MAIL and RCPT with the parameters that it offers. Pure.

A recipient that the server cannot serve, as it says in its EHLO, is refused here with the reply its sender will read:
too large (RFC 1870), or in need of SMTPUTF8 (RFC 6531 section 3.5; such mail is bounced, never mangled).
8-bit text to a server without 8BITMIME goes as it is: no server of today minds, and a converted text breaks DKIM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import AddressError
from postane.core.reply import Reply
from postane.delivery.dots import Piece

_UTF8_REFUSED = Reply(553, "5.6.7", "The address or message is in UTF-8, which the receiving server does not take")


@dataclass(frozen=True, slots=True)
class Request:
    """A message of `size` octets for a server that offers `extensions` (lower-case name → parameters)."""

    envelope: Envelope
    size: int
    extensions: Mapping[str, str]
    utf8: bool  # its headers or sender need SMTPUTF8

    def offers(self, extension: str) -> bool:
        return extension in self.extensions

    def rcpt(self, recipient: Recipient) -> str:
        parts = [f"RCPT TO:<{on_wire(recipient.address, utf8=self.offers('smtputf8'))}>"]
        if self.offers("dsn"):
            if recipient.notify:
                parts.append("NOTIFY=" + ",".join(word.value for word in recipient.notify))
            original = recipient.original or recipient.address
            if recipient.orcpt:
                parts.append(f"ORCPT={recipient.orcpt}")
            elif original.isascii():
                parts.append(f"ORCPT=rfc822;{xtext(original)}")
        return " ".join(parts)


def commands(request: Request, recipients: Sequence[Recipient]) -> tuple[str, dict[str, Reply]]:
    """The MAIL command, and recipients that are refused by what the server does not offer."""
    envelope = request.envelope
    utf8_offered = request.offers("smtputf8")
    refused: dict[str, Reply] = {}
    limit = request.extensions.get("size", "").strip()
    if limit.isdigit() and 0 < int(limit) < request.size:
        text = f"The message has {request.size} octets; the receiving server takes at most {limit}"
        refused = {r.address: Reply(552, "5.3.4", text) for r in recipients}
    elif not utf8_offered:
        for recipient in recipients:
            if request.utf8 or not on_wire(recipient.address, utf8=False).isascii():
                refused[recipient.address] = _UTF8_REFUSED
    parts = [f"MAIL FROM:<{on_wire(envelope.sender, utf8=utf8_offered)}>"]
    if request.offers("size"):
        parts.append(f"SIZE={request.size}")
    if request.offers("8bitmime") and (envelope.body_8bit or request.utf8):
        parts.append("BODY=8BITMIME")
    if utf8_offered and (request.utf8 or any(not r.address.isascii() for r in recipients)):
        parts.append("SMTPUTF8")
    if request.offers("dsn"):
        if envelope.ret:
            parts.append(f"RET={envelope.ret}")
        if envelope.envid:
            parts.append(f"ENVID={envelope.envid}")
    return " ".join(parts), refused


def needs_smtputf8(envelope: Envelope, text: Iterable[Piece]) -> bool:
    """True if the sender's local part or a header is in UTF-8 and the mail came as SMTPUTF8."""
    if not on_wire(envelope.sender, utf8=False).isascii():
        return True
    if not envelope.smtputf8:
        return False  # raw 8-bit headers of old software go as they came
    head = bytearray()
    for piece in text:
        head += piece
        if (end := head.find(b"\r\n\r\n")) >= 0:
            return not head[:end].isascii()
    return not head.isascii()


def on_wire(address: str, *, utf8: bool) -> str:
    """The address for MAIL or RCPT: without SMTPUTF8 its domain as A-labels. What is no address stays as it is."""
    if not address or address.isascii():
        return address
    try:
        return Address.parse(address).for_wire(smtputf8=utf8)
    except AddressError:
        return address


def xtext(text: str) -> str:
    """RFC 3461 section 4: what is not a plain printable character becomes +XX."""
    return "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in text)
