"""One request over HTTP/1.1 and its answer (RFC 9112), as a scanner beside us is asked.

A general client costs a processor half a millisecond for each message, as much as all else that is done for it. This
one speaks what such services speak: a request of a known length, an answer with a Content-Length, on a connection that
is kept where the server keeps it. Anything else (chunks, redirects, switching of protocols) is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast
from urllib.parse import urlsplit

from postane.core.errors import ConfigError, ServiceMissingError

Piece = bytes | bytearray | memoryview
Answer = tuple[int, bytes]
"""The status, and the content."""

_MOST_HEAD = 64 * 1024  # octets
_MOST_BODY = 16 * 1024 * 1024
_IDLE = 4  # connections kept: what a worker needs at once in quiet hours


class Client:
    """Asks one server, over at most so many connections at once. Belongs to one event loop."""

    def __init__(self, url: str, connections: int) -> None:
        """`url` is http://host:port, with a path before all others if need be, or the path of a socket.

        Raises ConfigError.
        """
        self._url = url
        self._socket = url if url.startswith("/") else ""
        try:
            parts = urlsplit("http://localhost" if self._socket else url)
            self._host, self._port = parts.hostname or "", parts.port or 80
        except ValueError as error:
            raise ConfigError(f"{url!r} is no URL: {error}") from error
        if parts.scheme != "http" or not self._host or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(f"{url!r} is neither http://host:port nor the path of a socket")
        self._begins = (f" {parts.path.rstrip('/')}", f" HTTP/1.1\r\nHost: {parts.netloc}\r\n")
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def post(self, path: str, headers: Iterable[tuple[str, str]], body: Sequence[Piece]) -> Answer:
        """`headers` name the length of `body`. Who gives up waiting ends the connection.

        Raises ServiceMissingError, and ValueError for a header that would be two.
        """
        head = self._head("POST", path, headers)
        async with self._free:
            while self._idle:
                connection = self._idle.pop()
                # It may have been closed while it lay there; where it is closed before any answer, another is made.
                if connection.usable and (answer := await self._asked(connection, head, body)) is not None:
                    return answer
            if (answer := await self._asked(await self._connect(), head, body)) is None:
                raise ServiceMissingError(f"{self._url}: the connection was closed without an answer")
            return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.end()
        self._idle.clear()

    def _head(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers]
        text = "".join(lines)
        if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
            raise ValueError(f"a header with a line end in it: {text!r}")
        before, after = self._begins
        return f"{method}{before}{path}{after}{text}\r\n".encode()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            if self._socket:
                _, connection = await loop.create_unix_connection(_Connection, self._socket)
            else:
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except OSError as error:
            raise ServiceMissingError(f"{self._url}: {error.strerror or error}") from error
        return connection

    async def _asked(self, connection: _Connection, head: bytes, body: Sequence[Piece]) -> Answer | None:
        """None: the server had closed the connection. Raises ServiceMissingError."""
        try:
            answer = await connection.ask(head, body)
        except ServiceMissingError as error:
            raise ServiceMissingError(f"{self._url}: {error}") from error
        finally:
            if connection.usable and len(self._idle) < _IDLE:
                self._idle.append(connection)
            else:
                connection.end()
        return answer


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer | None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._octets = bytearray()
        self._status = 0  # 0: the head is not here yet
        self._length = -1  # -1: all until the end of the connection
        self._stays = True

    @property
    def usable(self) -> bool:
        """True if it stands and nothing is under way."""
        return self._transport is not None and self._answer is None

    async def ask(self, head: bytes, body: Sequence[Piece]) -> Answer | None:
        """None if the server closes before it answers. Raises ServiceMissingError."""
        if self._transport is None:
            return None
        self._begin()
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._transport.writelines([head, *body])
        try:
            return await answer
        finally:
            if not answer.done() or answer.cancelled():
                self.end()  # nobody would know whose answer it is that comes

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nothing was asked
            self.end()
            return
        self._octets += data
        try:
            if not self._status and not self._read_head():
                return
            if len(self._octets) > (_MOST_BODY if self._length < 0 else self._length):
                raise ServiceMissingError("the answer is longer than it says, or than any may be")
        except ServiceMissingError as error:
            self._done(error)
            return
        if len(self._octets) == self._length:
            self._done((self._status, bytes(self._octets)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._status and self._length < 0 and exc is None:
            self._done((self._status, bytes(self._octets)))
        elif self._octets or self._status:
            self._done(ServiceMissingError(f"the answer breaks off ({exc or 'closed'})"))
        else:
            self._done(None)

    def _read_head(self) -> bool:
        """False if more of it has to come. Raises ServiceMissingError."""
        end = self._octets.find(b"\r\n\r\n")
        if end < 0:
            if len(self._octets) > _MOST_HEAD:
                raise ServiceMissingError("the answer's head has no end")
            return False
        first, *lines = self._octets[:end].decode("latin-1").split("\r\n")
        del self._octets[: end + 4]
        version, _, rest = first.partition(" ")
        code = rest[:3]
        good = len(code) == 3 and code.isascii() and code.isdigit() and rest[3:4] in ("", " ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not good:
            raise ServiceMissingError(f"the answer is no HTTP: {first[:80]!r}")
        self._stays = version == "HTTP/1.1"
        for line in lines:
            name, colon, value = line.partition(":")
            match name.lower():
                case "content-length":
                    length = value.strip()
                    if not (length.isascii() and length.isdigit()) or self._length not in (-1, int(length)):
                        raise ServiceMissingError(f"the answer's length is {value!r}")
                    self._length = int(length)
                case "connection" if value.strip().lower() == "close":
                    self._stays = False
                case "transfer-encoding":
                    raise ServiceMissingError(f"the answer comes in a transfer encoding: {value.strip()[:80]}")
                case _ if not colon:
                    raise ServiceMissingError(f"the answer's head has a line {line[:80]!r}")
        self._status = int(code)
        if self._status < 200 or self._length > _MOST_BODY:
            raise ServiceMissingError(f"the answer is {first[:80]!r} with {self._length} octets")
        return True

    def _done(self, answer: Answer | ServiceMissingError | None) -> None:
        waiting, self._answer = self._answer, None
        if isinstance(answer, ServiceMissingError) or not self._stays or self._length < 0:
            self.end()
        if waiting is None or waiting.done():
            return
        if isinstance(answer, ServiceMissingError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
