"""Asks Rspamd what it thinks of a message (its HTTP protocol, `/checkv2`), over connections that are kept open.

Rspamd is told what only the server knows: the peer's address and name, HELO, the envelope, who logged in.
What it answers becomes a verdict: `reject` and `soft reject` are said to the peer, `add header` and `rewrite subject`
mark the message as spam for the mailbox; `greylist` is not followed, since greylisting is a filter of its own.

What can fail: Rspamd is down, late or answers nonsense. Then the filter raises, and the failure policy decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta, Struct

from postane.core.envelope import Envelope
from postane.core.errors import ServiceMissingError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import Decision, Verdict
from postane.filters import base

_PIECE = 256 * 1024  # octets handed to the connection at once
_SHOWN = 20  # symbols named in the header


class Options(base.Options, frozen=True):
    """Spam scoring by Rspamd."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 10.0
    url: Annotated[str, Meta(description="Where Rspamd answers: http://host:port, or the path of a socket.")] = (
        "http://127.0.0.1:11333"
    )
    connections: Annotated[int, Meta(ge=1, description="Messages that one worker has scanned at once.")] = 20
    reject: Annotated[bool, Meta(description="Refuse what Rspamd rejects; false: mark it as spam.")] = True
    header: Annotated[bool, Meta(description="Put score and symbols into X-Spamd-Result.")] = True


class _Symbol(Struct):
    score: float = 0.0


class _Answer(Struct):
    """The part of the answer that is read here."""

    action: str
    score: float
    required_score: float = 0.0
    symbols: dict[str, _Symbol] = {}
    messages: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Answer).decode


class Rspamd(base.Filter[Options]):
    name = "rspamd"
    members = True
    options_type = Options

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._session: aiohttp.ClientSession | None = None

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        headers = question(peer, envelope, self.tools.host, body.size)
        try:
            async with self._open().post(self._url, data=_octets(body), headers=headers) as response:
                said = await response.read()
                if response.status != 200:
                    raise ServiceMissingError(f"Rspamd answers {response.status}: {said[:200]!r}")
        except aiohttp.ClientError as error:
            raise ServiceMissingError(f"Rspamd at {self.options.url}: {error}") from error
        return verdict(_decode(said), self.options)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def _url(self) -> str:
        return f"{'http://rspamd' if self.options.url.startswith('/') else self.options.url.rstrip('/')}/checkv2"

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            limit = self.options.connections
            connector = (
                aiohttp.UnixConnector(self.options.url, limit=limit)
                if self.options.url.startswith("/")
                else aiohttp.TCPConnector(limit=limit)
            )
            # The pipeline keeps the time; what the answer says of cookies and encodings is of no interest.
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session


def question(peer: Peer, envelope: Envelope, host: str, size: int) -> list[tuple[str, str]]:
    """The request's headers: what Rspamd cannot read from the message."""
    told = [
        ("Content-Length", str(size)),
        ("Queue-Id", envelope.id),
        ("MTA-Name", host),
        ("IP", peer.ip),
        ("Helo", peer.helo),
        ("From", envelope.sender),
        ("User", envelope.login),
        ("TLS-Version", peer.tls.partition(" ")[0]),
        ("TLS-Cipher", peer.tls.partition(" ")[2]),
    ]
    told += [("Rcpt", recipient.original or recipient.address) for recipient in envelope.recipients]
    return [(name, value) for name, value in told if value or name == "From"]


def verdict(answer: _Answer, options: Options) -> Verdict:
    """What an answer means here."""
    strongest = sorted(answer.symbols.items(), key=lambda item: -abs(item[1].score))[:_SHOWN]
    symbols = " ".join(f"{name}({symbol.score:.2f})" for name, symbol in strongest)
    why = f"Rspamd: {answer.action}, score {answer.score:.2f} of {answer.required_score:.2f}: {symbols or 'no symbols'}"
    spam = answer.action in ("reject", "add header", "rewrite subject")
    headers = []
    if spam:
        headers.append(("X-Spam", "Yes"))
    if options.header:
        folded = "".join(f"\r\n\t{word}" for word in symbols.split())
        headers.append(
            ("X-Spamd-Result", f"{answer.action}; score {answer.score:.2f} / {answer.required_score:.2f}{folded}")
        )
    words = _words(answer.messages)
    decision, reply = Decision.QUARANTINE if spam else Decision.ACCEPT, None
    if answer.action == "reject" and options.reject:
        decision, reply = Decision.REJECT, Reply(554, "5.7.1", words or "The message looks like spam")
    elif answer.action == "soft reject":
        decision, reply = Decision.DEFER, Reply(451, "4.7.1", words or "Not now; try again later")
    return Verdict(decision, why, reply, tuple(headers), answer.score)


def _words(messages: Mapping[str, Any]) -> str:
    """What Rspamd wants the peer to read: one line of visible ASCII."""
    said = messages.get("smtp_message")
    return "".join(c for c in said if " " <= c <= "~")[:400] if isinstance(said, str) else ""


async def _octets(body: Body) -> AsyncIterator[bytes]:
    """The message in pieces, so that a large one is never joined."""
    for chunk in body.chunks():
        view = memoryview(chunk)
        for at in range(0, len(view), _PIECE):
            yield bytes(view[at : at + _PIECE])
