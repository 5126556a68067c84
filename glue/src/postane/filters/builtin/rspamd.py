"""Asks Rspamd what it thinks of a message (its HTTP protocol, `/checkv2`).

Rspamd is told what only the server knows: the peer's address and its confirmed name, HELO, the envelope, who logged in.
What it answers becomes a verdict: `reject` and `soft reject` are said to the peer; with `add header` and `rewrite
subject` the message is suspect, and the recipient's policy says where such mail goes. `greylist` is not followed, since
greylisting is a filter of its own.

What can fail: Rspamd is down, late or answers nonsense. Then the filter raises, and the failure policy decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from postane.core.envelope import Envelope
from postane.core.errors import ServiceMissingError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.question import Ask
from postane.core.reply import Reply
from postane.core.verdict import Decision, Verdict
from postane.filters import base
from postane.filters.auth.checked import reverse_name
from postane.filters.auth.iprev import Result
from postane.filters.scoring.http_client import Client

_SHOWN = 20  # symbols named in the header
_NAME_SECONDS = 3.0  # for the name of the peer's address: scanning needs the rest of the time
_NOT_KNOWN = "unknown"  # a name that Rspamd holds against nobody; without any it adds 3.5 to the score

Group = Literal["spf", "dkim", "dmarc", "arc", "rbl", "surbl"]
"""Groups of rules in Rspamd that Postane has filters for."""


class Options(base.Options, frozen=True):
    """Spam scoring by Rspamd."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 10.0
    url: Annotated[str, Meta(description="Where Rspamd answers: http://host:port, or the path of a socket.")] = (
        "http://127.0.0.1:11333"
    )
    connections: Annotated[int, Meta(ge=1, description="Messages that one worker has scanned at once.")] = 20
    reject: Annotated[bool, Meta(description="Refuse what Rspamd rejects; false: mark it as spam.")] = True
    leave_out: Annotated[
        tuple[Group, ...],
        Meta(
            description="Groups of rules that Rspamd does not run, because another filter in use does these checks."
            " Rspamd's own user settings do not apply then."
        ),
    ] = ()
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
    host = frozenset({"url", "connections", "timeout"})
    owner = frozenset({"reject", "header"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._client = Client(options.url, options.connections)
        self._settings: list[tuple[str, str]] = []
        if options.leave_out:
            self._settings = [("Settings", msgspec.json.encode({"groups_disabled": options.leave_out}).decode())]

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        # Policies that differ in what follows from the answer share it.
        name = f"rspamd {self.options.url} {self.options.leave_out}"
        answer = await self.tools.once(envelope.id, name, lambda: self._scan(peer, envelope, body))
        return verdict(answer, self.options)

    async def close(self) -> None:
        self._client.close()

    async def _scan(self, peer: Peer, envelope: Envelope, body: Body) -> _Answer:
        """Ends by itself: nobody may be left who waits for it. Raises TimeoutError, ServiceMissingError."""
        async with asyncio.timeout(self.options.timeout):
            name = await self._name(peer)
            headers = question(peer, envelope, self.tools.host, body.size, name) + self._settings
            status, said = await self._client.post("/checkv2", headers, body.chunks())
        if status != 200:
            raise ServiceMissingError(f"Rspamd answers {status}: {said[:200]!r}")
        return _decode(said)

    async def _name(self, peer: Peer) -> str:
        """The name that leads back to the address, "" if it has none. What cannot be asked is held against nobody."""
        if peer.own:
            return _NOT_KNOWN
        found = await reverse_name(self.tools, self._ask, peer.ip, min(_NAME_SECONDS, self.options.timeout / 2))
        return {Result.PASS: found.name, Result.TEMPERROR: _NOT_KNOWN}.get(found.result, "")

    @cached_property
    def _ask(self) -> Ask:
        return self.tools.resolver()


def question(peer: Peer, envelope: Envelope, host: str, size: int, name: str) -> list[tuple[str, str]]:
    """The request's headers: what Rspamd cannot read from the message. `name` is that of the peer's address.

    Deliver-To is whose own words count, where Rspamd learns for each account by itself.
    """
    first = envelope.recipients[0].address if envelope.recipients else ""
    told = [
        ("Content-Length", str(size)),
        ("Queue-Id", envelope.id),
        ("MTA-Name", host),
        ("IP", peer.ip),
        ("Hostname", name),
        ("Helo", peer.helo),
        ("From", envelope.sender),
        ("User", envelope.login),
        ("TLS-Version", peer.tls.partition(" ")[0]),
        ("TLS-Cipher", peer.tls.partition(" ")[2]),
    ]
    told += [("Deliver-To", first)]
    told += [("Rcpt", recipient.original or recipient.address) for recipient in envelope.recipients]
    return [(name, value) for name, value in told if value or name == "From"]


def verdict(answer: _Answer, options: Options) -> Verdict:
    """What an answer means here."""
    strongest = sorted(answer.symbols.items(), key=lambda item: -abs(item[1].score))[:_SHOWN]
    symbols = " ".join(f"{name}({symbol.score:.2f})" for name, symbol in strongest)
    why = f"Rspamd: {answer.action}, score {answer.score:.2f} of {answer.required_score:.2f}: {symbols or 'no symbols'}"
    spam = answer.action in ("reject", "add header", "rewrite subject")
    headers = []
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
    return Verdict(decision, why, reply, tuple(headers), answer.score, opinion=True)


def _words(messages: Mapping[str, Any]) -> str:
    """What Rspamd wants the peer to read: one line of visible ASCII."""
    said = messages.get("smtp_message")
    return "".join(c for c in said if " " <= c <= "~")[:400] if isinstance(said, str) else ""
