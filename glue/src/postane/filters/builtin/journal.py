"""Sends a copy of mail to and from the own domains to a journal: an archive, an auditor.

A copy is a message of its own with the null sender: whatever becomes of it, nobody who wrote hears of it. Its header
tells the envelope, which no other field does (Bcc).

No loop: a copy carries a MAC over its text and the journal's address. What comes back with it, by whatever forward, is
known and not copied again. Nobody can escape the journal with a mark from elsewhere: it fits that text alone, and that
text is in the journal already. A forward that changes the text is stopped by the limit of Received fields.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.address import Address, normal_domain
from postane.core.envelope import Envelope
from postane.core.errors import AddressError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.verdict import ACCEPT, Verdict
from postane.filters import base
from postane.filters.auth.canonical import Piece
from postane.filters.auth.dkim_sign import digest_message

MARK = "X-Postane-Journal"
FROM = "X-Postane-Envelope-From"
TO = "X-Postane-Envelope-To"

_BESIDE = 256 * 1024  # octets; hashing more than that would hold up the other sessions
_MARKS = 10  # fields that are looked at
_MAC = 32  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class _Digest:
    """Of what a forward leaves as it is: body and Message-ID. `marks` are those that stand in the header."""

    digest: bytes
    marks: frozenset[bytes]


def _digest(pieces: Sequence[Piece]) -> _Digest:
    headers, body = digest_message(pieces)
    ids = b"\0".join(line for name, line in headers if name == b"message-id")
    marks = [line.partition(b":")[2].strip() for name, line in headers if name == MARK.lower().encode()]
    return _Digest(hashlib.sha256(ids + b"\0" + body).digest(), frozenset(marks[:_MARKS]))


class Options(base.Options, frozen=True):
    """A copy of mail to and from the own domains goes to an archive."""

    to: Annotated[tuple[str, ...], Meta(description="Who gets the copies: addresses here or away; empty: nobody.")] = ()
    direction: Annotated[
        Literal["in", "out", "both"],
        Meta(
            description="Mail to local mailboxes, mail of our users and programs, or both; inside a domain it is both."
        ),
    ] = "both"
    domains: Annotated[
        tuple[str, ...], Meta(description="The domains whose mail is copied; empty: all that it is asked about.")
    ] = ()
    null_sender: Annotated[
        bool, Meta(description="Copy mail with the null sender too: delivery reports, automatic answers.")
    ] = False

    def __post_init__(self) -> None:
        for text in (*self.to, *(f"x@{domain}" for domain in self.domains)):
            try:
                Address.parse(text)
            except AddressError as error:
                raise ValueError(f"{text.removeprefix('x@')!r}: {error}") from error


class Journal(base.Filter[Options]):
    name = "journal"
    members = True
    options_type = Options

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._domains = {normal_domain(domain) for domain in options.domains}
        self._to = {Address.parse(address).key: address for address in options.to}

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if not self._wanted(peer, envelope):
            return ACCEPT
        reached = {
            Address.parse(text).key for one in envelope.recipients for text in (one.address, one.original) if text
        }
        missing = [address for key, address in self._to.items() if key not in reached]
        if not missing:
            return ACCEPT
        chunks = body.chunks()
        beside = asyncio.get_running_loop().run_in_executor
        message = await beside(None, _digest, chunks) if body.size > _BESIDE else _digest(chunks)
        copies = tuple(address for address in missing if self._mark(address, message) not in message.marks)
        if not copies:
            return ACCEPT
        marks = [(MARK, self._mark(address, message).decode()) for address in copies]
        originals = dict.fromkeys(one.original or one.address for one in envelope.recipients)
        told = [(FROM, f"<{envelope.sender}>"), (TO, ",\r\n\t".join(f"<{one}>" for one in originals))]
        return Verdict(why=f"journal: a copy goes to {', '.join(copies)}", copies=copies, copy_headers=(*marks, *told))

    def _wanted(self, peer: Peer, envelope: Envelope) -> bool:
        if not envelope.sender and not self.options.null_sender:
            return False
        incoming = (one.original or one.address for one in envelope.recipients if one.kind == "local")
        outgoing = (text for text in (envelope.sender, envelope.login) if peer.own and text)
        came = self.options.direction != "out" and self._any(incoming)
        return came or (self.options.direction != "in" and self._any(outgoing))

    def _any(self, addresses: Iterable[str]) -> bool:
        return any(not self._domains or Address.parse(one).key_domain in self._domains for one in addresses)

    def _mark(self, address: str, message: _Digest) -> bytes:
        said = b"v1\0" + Address.parse(address).key.encode() + b"\0" + message.digest
        return b"v1." + hmac.digest(self._key, said, "sha256").hex()[:_MAC].encode()

    @cached_property
    def _key(self) -> bytes:
        """Raises PermanentError, OSError."""
        return self.tools.secret("journal")
