"""Many raw peers at once: octets go out in the packets that the test says, replies come back whole."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.001  # so that two packets are read one by one


class Peer:
    """One connection. A reply of "" means that the server has closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, source: str = "127.0.0.1") -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(reader, writer)

    @classmethod
    async def greeted(cls, port: int, source: str = "127.0.0.1") -> Peer:
        """A peer that has read 220."""
        peer = await cls.open(port, source)
        assert await peer.codes(1) == ["220"]
        return peer

    async def send(self, *packets: bytes) -> None:
        for number, packet in enumerate(packets):
            if number:
                await asyncio.sleep(PAUSE)
            self._writer.write(packet)

    async def read(self) -> str:
        """One whole reply, its lines parted by line feeds."""
        lines = []
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readuntil(b"\r\n"), 20)
            except (asyncio.IncompleteReadError, ConnectionError):
                return ""
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    async def ask(self, *packets: bytes) -> str:
        await self.send(*packets)
        return await self.read()

    async def codes(self, count: int) -> list[str]:
        return [(await self.read())[:3] for _ in range(count)]

    async def in_step(self) -> bool:
        """True if NOOP is answered as NOOP, and nothing else is left to read; or if the server has closed."""
        reply = await self.ask(b"NOOP\r\n")
        if reply == "":
            return True
        if not re.fullmatch(r"250 2\.0\.0 .*", reply):
            return False
        return (await self.ask(b"QUIT\r\n")).startswith("221") and await self.read() == ""

    async def rest(self) -> list[str]:
        """All replies until the server closes."""
        replies = []
        while reply := await self.read():
            replies.append(reply)
        return replies

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()


async def at_once(work: Callable[[T], Awaitable[None]], items: Iterable[T], most: int = 24) -> None:
    """`work` for each item, `most` at a time; the first failure ends it all."""
    waiting = iter(items)

    async def one_after_the_other() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(most):
            group.create_task(one_after_the_other())
