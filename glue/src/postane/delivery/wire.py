"""One connection to a server of SMTP or LMTP: writes commands in groups, matches the replies that come in order.

Replies are futures in the order of the commands, so that a whole transaction is two writes (RFC 2920), whatever the
number of recipients. A text goes out in pieces as they lie in the spool; of a large one no more than a stride is
buffered. Errors: ConnectionLostError for anything that ends the connection, TimeoutError for silence.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from typing import cast

from postane.core.reply import Reply
from postane.delivery.dots import Piece
from postane.delivery.words import reply_of

MAX_REPLY = 64 * 1024
_FIRST_DIGIT = ("2", "3", "4", "5")  # RFC 5321 section 4.2.1
_JOIN_BELOW = 128 * 1024  # octets up to which pieces are joined for one write


class ConnectionLostError(Exception):
    """The peer closed, reset, or spoke what is no LMTP."""


def lines_of(commands: Iterable[str]) -> bytes:
    """Commands as octets. Raises ValueError for one that would be two: an address of ours must never speak for us."""
    lines = list(commands)
    text = "".join(f"{line}\r\n" for line in lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise ValueError(f"a command with a line end in it: {text!r}")
    return text.encode()


class Wire(asyncio.Protocol):
    """The protocol of one connection. Used by one transaction at a time. `greeting` is the server's first reply."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._lines: list[str] = []
        self._size = 0
        # The greeting may come before whoever connects hears that the connection stands.
        self.greeting: asyncio.Future[Reply] = self._loop.create_future()
        self._waiters: deque[asyncio.Future[Reply]] = deque([self.greeting])
        self._writable: asyncio.Future[None] | None = None
        self._lost: Exception | None = None

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self._size += len(data)
        if self._size > MAX_REPLY:
            self._fail(ConnectionLostError("the server sent an endless reply"))
            return
        for line in lines:
            self._line(line.rstrip(b"\r").decode("utf-8", "replace"))

    def _line(self, line: str) -> None:
        if line[:1] not in _FIRST_DIGIT or not line[:3].isdigit() or len(line) < 3 or line[3:4] not in ("", " ", "-"):
            self._fail(ConnectionLostError(f"the server sent what is no reply: {line[:80]!r}"))
            return
        self._lines.append(line[4:])
        if line[3:4] == "-":
            return
        code, texts, self._lines, self._size = int(line[:3]), self._lines, [], 0
        if not self._waiters:
            # Nothing was asked: a server says 421 before it closes. The connection is not used again.
            self._fail(ConnectionLostError(f"the server said {line[:80]!r}"))
            return
        waiter = self._waiters.popleft()
        if not waiter.done():
            waiter.set_result(reply_of(code, texts))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionLostError(str(exc) if exc else "the server closed the connection"))

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._lost is None:
            self._lost = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(self._lost)
                waiter.exception()  # the caller may have stopped listening
        self._waiters.clear()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(self._lost)
            self._writable.exception()
        if self._transport is not None:
            self._transport.abort()

    # -- for the transaction ----------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        return self._lost is None and not self._waiters

    def expect(self, count: int = 1) -> Sequence[asyncio.Future[Reply]]:
        """The next `count` replies that nobody waits for yet. Raises ConnectionLostError."""
        if self._lost is not None:
            raise self._lost
        waiters = [self._loop.create_future() for _ in range(count)]
        self._waiters.extend(waiters)
        return waiters

    async def ask(self, command: str, seconds: float) -> Reply:
        """One command and its reply. Raises as `answer`."""
        waiter = self.expect()[0]
        self.send(lines_of([command]))
        return await self.answer(waiter, seconds)

    async def start_tls(self, context: ssl.SSLContext, name: str | None, seconds: float) -> None:
        """After the server's word to STARTTLS. Raises ConnectionLostError, OSError (of TLS too), TimeoutError."""
        if self._lost is not None or self._transport is None:
            raise self._lost or ConnectionLostError("not connected")
        if self._buffer or self._lines:
            # RFC 3207 section 4.2: nothing that was said in clear may count as said under TLS.
            raise ConnectionLostError("the server went on talking before TLS began")
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=name, ssl_handshake_timeout=seconds
        )
        if transport is None:
            raise ConnectionLostError("the server closed the connection")
        self._transport = transport

    async def answer(self, waiter: asyncio.Future[Reply], seconds: float) -> Reply:
        """Raises ConnectionLostError, or TimeoutError after which the connection is of no more use."""
        if waiter.done():
            return waiter.result()
        try:
            return await asyncio.wait_for(waiter, seconds)
        except TimeoutError:
            self.discard()
            raise

    def send(self, data: bytes) -> None:
        if self._lost is not None or self._transport is None:
            raise self._lost or ConnectionLostError("not connected")
        self._transport.write(data)

    async def send_pieces(self, pieces: Iterable[Piece], seconds: float) -> None:
        """Small pieces go out together, large ones as they are; waits while the peer does not read.

        Raises ConnectionLostError, or TimeoutError where the peer reads nothing for `seconds`.
        """
        group: list[Piece] = []
        size = 0
        for piece in pieces:
            group.append(piece)
            size += len(piece)
            if size >= _JOIN_BELOW:
                await self._send_group(group, seconds)
                group, size = [], 0
        if group:
            self.send(b"".join(group))

    async def _send_group(self, group: list[Piece], seconds: float) -> None:
        *before, last = group
        if before:
            self.send(b"".join(before))
        # A large piece goes out in strides, so that no more than one of them is ever buffered.
        view = memoryview(last)
        for at in range(0, len(view), _JOIN_BELOW):
            if self._transport is None or self._lost is not None:
                raise self._lost or ConnectionLostError("not connected")
            self._transport.write(view[at : at + _JOIN_BELOW])
            if self._writable is not None:
                try:
                    await asyncio.wait_for(asyncio.shield(self._writable), seconds)
                except TimeoutError:
                    self.discard()
                    raise

    def leave(self) -> None:
        """Says farewell, waits for nothing, and closes."""
        if self.usable and self._transport is not None and not self._transport.is_closing():
            self._lost = ConnectionLostError("closed")
            self._transport.write(b"QUIT\r\n")
            self._transport.close()
        else:
            self.discard()

    def discard(self) -> None:
        self._fail(ConnectionLostError("given up"))
