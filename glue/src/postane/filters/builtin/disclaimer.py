"""Puts a text of the domain's behind what its people send, as a further part: a disclaimer, the company's particulars.

Only what a person submits with a login, and before our DKIM signature. The message itself is not altered by an octet
(see wrap); one that is signed, encrypted, an invitation or a program's is left alone.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.verdict import ACCEPT, Verdict
from postane.filters import base
from postane.filters.auth.canonical import slices
from postane.filters.content.head import beginning
from postane.filters.content.wrap import Words, closed, wrap

_HEAD = 128 * 1024  # octets; a message with a longer header is left alone
_LOOK = 1024 * 1024  # octets that are searched for parts that want nothing added


class Options(base.Options, frozen=True):
    """A text behind what the domain's people send."""

    text: Annotated[
        str, Meta(max_length=10_000, description="The text, in as many languages as wanted; empty: nothing is added.")
    ] = ""
    html: Annotated[str, Meta(max_length=50_000, description="The same as HTML; empty: only text.")] = ""
    to: Annotated[
        Literal["away", "everybody"],
        Meta(description="Added to mail of which a recipient is elsewhere, or to all mail."),
    ] = "away"


class Disclaimer(base.Filter[Options]):
    name = "disclaimer"
    members = True
    by_sender = True
    options_type = Options
    owner = frozenset({"text", "html", "to"})

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if not self.options.text or not envelope.login or not envelope.sender or not self._wanted(envelope):
            return ACCEPT
        chunks = body.chunks()
        header, text = beginning(chunks, _LOOK)
        if len(header) > _HEAD or not header or len(header) + 4 > min(body.size, _LOOK):
            return ACCEPT
        why = closed(header, text)
        if why:
            return Verdict(why=f"disclaimer: not added: {why}")
        ascii_only = all(piece.isascii() for piece in slices(chunks))
        words = Words(self.options.text, self.options.html)
        boundary = f"=_{secrets.token_hex(16)}"
        return Verdict(why="disclaimer: added", wrap=wrap(header, words, boundary, ascii_only=ascii_only))

    def _wanted(self, envelope: Envelope) -> bool:
        return self.options.to == "everybody" or any(one.kind == "remote" for one in envelope.recipients)
