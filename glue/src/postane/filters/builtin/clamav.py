"""Asks clamd whether a message holds something bad (its INSTREAM command), over a unix socket or TCP.

The message goes out as it lies in the draft, in pieces that are views of it. One message, one connection: a session
that is kept open (IDSESSION) saves 0.1 ms of 0.4, and costs that one message's accident is the next one's.
The answer is listened for while the message still goes out: clamd may have had enough before its end.

What can fail: clamd is down, late, busy, goes away in mid-stream or answers what is no answer. Then the filter raises,
and the failure policy decides. What clamd has not looked at as a whole, since it is too large for it or for us, has the
policy of `too_large`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

from msgspec import Meta

from postane.core.envelope import Envelope
from postane.core.errors import ConfigError, ServiceMissingError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.observe.log import get_logger

log = get_logger("filters")

_PIECE = 256 * 1024  # octets in one chunk of the stream
_SMALL = 64 * 1024  # a message of up to so many octets is one write
_ANSWER = 4096  # octets; a longer answer is none
_SHARE = 0.95  # of the time that a call has; then clamd is late by its own name
_FULL = 1.0  # seconds for which clamd's door may be full
_LAST_WORDS = 1.0  # seconds in which clamd, having closed, is heard out
_WAITING = 10  # messages that wait, for each connection; more of them would be late anyway

_UNCHECKED = ("X-Postane-Unchecked", "clamav")
# clamd says so of what was over a limit of its own (AlertExceedsMax): it has not seen all of it.
_LIMITS = "Heuristics.Limits.Exceeded"
_FOUND = re.compile(rb"(?:\d+: )?stream: (.+?)(?:\([0-9a-f]{32,64}:\d+\))? FOUND", re.DOTALL)
_CLEAN = re.compile(rb"(?:\d+: )?stream: OK")


class Options(base.Options, frozen=True):
    """Viruses, found by ClamAV's daemon."""

    timeout: Annotated[float, Meta(gt=0, le=300, description="Seconds for one call.")] = 20.0
    address: Annotated[str, Meta(description="Where clamd listens: the path of a socket, or host:port.")] = (
        "/run/clamav/clamd.ctl"
    )
    connections: Annotated[
        int, Meta(ge=1, le=1000, description="Messages that one worker has scanned at once; others wait.")
    ] = 10
    on_virus: Annotated[
        Literal["reject", "quarantine"], Meta(description="What becomes of a message with a virus.")
    ] = "reject"
    suspect: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of signatures that are no proof: what they find is put aside, never refused."),
    ] = ("Heuristics.*", "PUA.*")
    max_size: Annotated[
        int, Meta(ge=1, description="Octets; a larger message is not sent. clamd has such a bound too.")
    ] = 25_000_000
    too_large: Annotated[
        Literal["accept", "reject", "defer", "mark"],
        Meta(description="What becomes of a message that is over a size limit, here or in clamd; mark: a header."),
    ] = "mark"


@dataclass(frozen=True, slots=True)
class Answer:
    """What clamd found: `virus` is a signature's name or empty; `limit` says which bound left it unchecked."""

    virus: str = ""
    limit: str = ""


class ClamAV(base.Filter[Options]):
    name = "clamav"
    members = True
    options_type = Options
    host = frozenset({"address", "connections", "timeout", "max_size"})

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        try:
            self._clamd = Clamd(options.address, options.connections)
        except ValueError as error:
            raise ConfigError(f"filters.options.clamav.address: {error}") from error
        self._seconds = options.timeout * _SHARE

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        if body.size > self.options.max_size:
            answer = Answer(limit=f"it has {body.size} octets, over {self.options.max_size}")
        else:
            try:
                # Policies that differ in what follows from the answer share it.
                answer = await self.tools.once(
                    envelope.id, f"clamav {self.options.address}", lambda: self._clamd.scan(body, self._seconds)
                )
            except (ClamdError, asyncio.CancelledError) as error:
                # On a busy host the pipeline's time may be over a moment before clamd's own.
                cause = error.cause if isinstance(error, ClamdError) else "late"
                self.tools.metrics.count(
                    "postane_filter_clamav_failures_total", "Messages clamd gave no answer to", cause=cause
                )
                raise
        verdict = judge(answer, self.options)
        if verdict.why:
            outcome = "too_large" if answer.limit else "virus"
            log.warning(
                "virus_found" if answer.virus and not answer.limit else "not_scanned",
                trace_id=envelope.id,
                client_ip=peer.ip,
                login=envelope.login,
                reason=verdict.why,
                decision=verdict.decision.name.lower(),
            )
            self.tools.metrics.count("postane_filter_clamav_total", "Messages that were not clean", outcome=outcome)
        return verdict


def judge(answer: Answer, options: Options) -> Verdict:
    """What an answer of clamd means here."""
    if answer.limit:
        why = f"ClamAV: not scanned: {answer.limit}"
        if options.too_large == "reject":
            return Verdict(Decision.REJECT, why, Reply(552, "5.3.4", "Too large to be scanned for viruses"))
        if options.too_large == "defer":
            return Verdict(Decision.DEFER, why, Reply(451, "4.3.4", "Too large to be scanned for viruses now"))
        return Verdict(why=why, headers=(_UNCHECKED,) if options.too_large == "mark" else ())
    if not answer.virus:
        return ACCEPT
    why = f"ClamAV: {answer.virus}"
    suspect = any(fnmatchcase(answer.virus, pattern) for pattern in options.suspect)
    if suspect or options.on_virus == "quarantine":
        return Verdict(Decision.QUARANTINE, why, headers=(("X-Virus", answer.virus),))
    return Verdict(Decision.REJECT, why, Reply(554, "5.7.1", f"The message holds a virus: {answer.virus}"))


class ClamdError(ServiceMissingError):
    """clamd gave no answer. `cause`: down, full, busy, late, lost or rubbish."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Clamd:
    """A clamd, asked over one connection a message, so many at once; all filters of a worker share the bound."""

    def __init__(self, address: str, connections: int = 10) -> None:
        """Raises ValueError for an address that is neither a path nor host:port."""
        self._address = address
        self._connections = connections
        self._host, colon, port = address.rpartition(":")
        self._port = 0
        if not address.startswith("/"):
            if not colon or not self._host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{address!r} is neither the path of a socket nor host:port")
            self._host, self._port = self._host.strip("[]"), int(port)

    async def scan(self, body: Body, seconds: float) -> Answer:
        """Raises ClamdError."""
        stream = _stream(body)
        try:
            async with asyncio.timeout(seconds), _line(self._address, self._connections):
                return read(await self._ask(stream))
        except TimeoutError as error:
            raise ClamdError("late", f"clamd at {self._address} gives no answer in {seconds:g} s") from error

    async def command(self, name: str) -> str:
        """The answer to a command like VERSION or PING. Raises ClamdError."""
        return (await self._ask([f"z{name}\0".encode()])).decode("ascii", "replace")

    async def _ask(self, question: Sequence[bytes] | Iterator[bytes | memoryview]) -> bytes:
        """The answer, as soon as it comes: clamd may read nothing more after it, or have closed."""
        with await self._connect() as line:
            if isinstance(question, Sequence):  # it fits into the socket as a whole: nothing to listen for beside it
                try:
                    await self._send(line, question)
                except OSError as error:
                    return await self._last_words(self._answer(line), error)
                return await self._answer(line)
            loop = asyncio.get_running_loop()
            answer = loop.create_task(self._answer(line), name="clamd answers")
            asking = loop.create_task(self._send(line, question), name="clamd is asked")
            try:
                await asyncio.wait([answer, asking], return_when=asyncio.FIRST_COMPLETED)
                if asking.done() and (fault := asking.exception()) is not None:
                    return await self._last_words(answer, fault)
                return await answer
            finally:  # nobody may use the socket once it is closed
                answer.cancel()
                asking.cancel()
                await asyncio.gather(answer, asking, return_exceptions=True)

    async def _last_words(self, answer: Awaitable[bytes], error: BaseException) -> bytes:
        """What clamd said before it closed. Raises ClamdError."""
        try:
            async with asyncio.timeout(_LAST_WORDS):
                return await answer
        except (ClamdError, TimeoutError):
            raise ClamdError("lost", f"clamd at {self._address} went away: {error}") from error

    async def _send(self, line: socket.socket, question: Iterable[bytes | memoryview]) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        for piece in question:
            await loop.sock_sendall(line, piece)

    async def _connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        line: socket.socket | None = None
        try:
            if not self._port:
                line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                line.setblocking(False)
                await self._knock(line)
                return line
            family, kind, protocol, _, address = (
                await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            )[0]
            line = socket.socket(family, kind, protocol)
            line.setblocking(False)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(line, address)
            return line
        except BaseException as error:
            if line is not None:
                line.close()
            if isinstance(error, OSError):
                raise ClamdError("down", f"clamd at {self._address} cannot be reached: {error}") from error
            raise

    async def _knock(self, line: socket.socket) -> None:
        """A unix socket answers at once, also that its queue is full: a loop that waits for it would not see that."""
        until = time.monotonic() + _FULL
        while True:
            try:
                return line.connect(self._address)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise ClamdError("full", f"clamd at {self._address} takes no more connections") from error
                await asyncio.sleep(0.02)

    async def _answer(self, line: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        said = b""
        while not said.endswith((b"\0", b"\n")):
            try:
                more = await loop.sock_recv(line, _ANSWER)
            except OSError as error:
                raise ClamdError("lost", f"clamd at {self._address} went away: {error}") from error
            if not more:
                raise ClamdError("lost", f"clamd at {self._address} closed without an answer, after {said[:100]!r}")
            said += more
            if len(said) > _ANSWER:
                raise ClamdError("rubbish", f"clamd at {self._address} does not come to an end: {said[:100]!r}")
        return said.rstrip(b"\0\n")


def read(said: bytes) -> Answer:
    """What clamd's line means. Raises ClamdError for one that says neither clean nor found."""
    if _CLEAN.fullmatch(said):
        return Answer()
    if found := _FOUND.fullmatch(said):
        name = "".join(chr(octet) if 33 <= octet <= 126 else "?" for octet in found[1])[:120]
        return Answer(name, f"clamd says {name}" if name.startswith(_LIMITS) else "")
    if said.startswith(b"INSTREAM size limit exceeded"):
        return Answer(limit="clamd takes no stream of that length (StreamMaxLength)")
    raise ClamdError("rubbish", f"clamd answers {said[:200]!r}")


def _stream(body: Body) -> Sequence[bytes] | Iterator[bytes | memoryview]:
    """INSTREAM: each chunk behind its length in four octets, the most significant first; a length of 0 ends it."""
    if body.size <= _SMALL:
        text = body.bytes()
        lead = b"zINSTREAM\0" + (len(text).to_bytes(4, "big") if text else b"")
        return [b"".join((lead, text, bytes(4)))]
    return _pieces(body.chunks())


def _pieces(chunks: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes | memoryview]:
    yield b"zINSTREAM\0"
    for chunk in chunks:
        view = memoryview(chunk)
        for at in range(0, len(view), _PIECE):
            piece = view[at : at + _PIECE]
            yield len(piece).to_bytes(4, "big")
            yield piece
    yield bytes(4)


class _Line:
    """Those who wait for a connection; not without end."""

    def __init__(self, connections: int) -> None:
        self._free = asyncio.Semaphore(connections)
        self._most = connections * _WAITING
        self._waiting = 0

    async def __aenter__(self) -> None:
        if self._waiting >= self._most:
            raise ClamdError("busy", f"{self._waiting} messages wait for clamd")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, int], _Line]] = WeakKeyDictionary()


def _line(address: str, connections: int) -> _Line:
    """Shared by all filters of a process that ask the same clamd."""
    of_loop = _lines.setdefault(asyncio.get_running_loop(), {})
    return of_loop.setdefault((address, connections), _Line(connections))
