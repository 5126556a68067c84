from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from postane.delivery.wire import Wire, lines_of


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True


def wired(test: Callable[[Wire, Transport], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        wire, transport = Wire(), Transport()
        wire.connection_made(transport)
        await test(wire, transport)

    asyncio.run(main())


def test_greeting_that_comes_before_anyone_listens_is_heard() -> None:
    async def test(wire: Wire, transport: Transport) -> None:
        wire.data_received(b"220 lmtp.test ready\r\n")
        assert (await wire.answer(wire.greeting, 1)).code == 220
        assert wire.usable

    wired(test)


def test_word_that_nobody_asked_for_ends_the_connection() -> None:
    async def test(wire: Wire, transport: Transport) -> None:
        wire.data_received(b"220 lmtp.test ready\r\n421 4.3.2 Shutting down\r\n")
        assert not wire.usable
        assert transport.aborted

    wired(test)


@pytest.mark.parametrize("address", ["a\r\nDATA", "a\nb", "a\rb", "a\0b"])
def test_no_address_makes_two_commands_of_one(address: str) -> None:
    assert lines_of(["MAIL FROM:<ş@x.test>", "DATA"]) == "MAIL FROM:<ş@x.test>\r\nDATA\r\n".encode()
    with pytest.raises(ValueError, match="line end"):
        lines_of([f"RCPT TO:<{address}>", "DATA"])
