"""The HTTP client of filters: what it writes, what it takes for an answer, when a connection is used again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from postane.core.errors import ConfigError, ServiceMissingError
from postane.filters.scoring.http_client import Client

T = TypeVar("T")
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
CLOSING = GOOD.replace(b"\r\n\r\n", b"\r\nconnection: Close\r\n\r\n")


class Server:
    """Says `answers` in turn, an octet at a time where `slow`; "" closes without a word. After the last it closes."""

    def __init__(self, *answers: bytes, slow: bool = False, stays: bool = True) -> None:
        self.answers = list(answers)
        self.slow = slow
        self.stays = stays
        self.connections = 0
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                for octet in answer if self.slow else ():
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0)
                if not self.slow:
                    writer.write(answer)
                if not self.stays or not answer:
                    break
        writer.close()


def asked(tmp_path: Path, server: Server | None, work: Callable[[Client], Awaitable[T]], connections: int = 5) -> T:
    async def run() -> T:
        if server is not None:
            await asyncio.start_unix_server(server.serve, tmp_path / "s")
        client = Client(str(tmp_path / "s"), connections)
        try:
            async with asyncio.timeout(10):
                return await work(client)
        finally:
            client.close()

    return asyncio.run(run())


async def once(client: Client, body: Sequence[bytes] = (b"x",)) -> tuple[int, bytes]:
    return await client.post("/scan", [("Content-Length", str(sum(map(len, body)))), ("Helo", "é.test")], body)


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    server = Server(GOOD)
    assert asked(tmp_path, server, lambda c: once(c, [b"ab", b"", b"c" * 1_000_000])) == (200, b"good")
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert head == "POST /scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000002\r\nHelo: é.test".encode()
    assert body == b"ab" + b"c" * 1_000_000


def test_over_tcp_with_a_path_before_all_others() -> None:
    server = Server(GOOD)

    async def run() -> tuple[int, bytes]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}/rspamd/", 1)
        try:
            return await once(client)
        finally:
            client.close()
            assert server.asked[0].startswith(f"POST /rspamd/scan HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())

    assert asyncio.run(run()) == (200, b"good")


@pytest.mark.parametrize("slow", [False, True])
def test_a_connection_is_used_again_where_the_server_keeps_it(tmp_path: Path, slow: bool) -> None:
    async def thrice(client: Client) -> list[tuple[int, bytes]]:
        return [await once(client) for _ in range(3)]

    server = Server(GOOD, GOOD, CLOSING, slow=slow)
    assert asked(tmp_path, server, thrice) == [(200, b"good")] * 3
    assert server.connections == 1


def test_a_connection_that_is_about_to_close_is_not(tmp_path: Path) -> None:
    async def twice(client: Client) -> list[tuple[int, bytes]]:
        return [await once(client) for _ in range(2)]

    server = Server(CLOSING, CLOSING)
    assert asked(tmp_path, server, twice) == [(200, b"good")] * 2
    assert server.connections == 2


def test_one_that_was_closed_while_it_lay_there_is_no_failure(tmp_path: Path) -> None:
    async def twice(client: Client) -> list[tuple[int, bytes]]:
        return [await once(client) for _ in range(2)]

    # The second request meets a connection that closes before any word: it is asked anew.
    server = Server(GOOD, b"", GOOD)
    assert asked(tmp_path, server, twice) == [(200, b"good")] * 2
    assert server.connections == 2


def test_an_answer_without_a_length_ends_with_its_connection(tmp_path: Path) -> None:
    server = Server(b"HTTP/1.0 503 No\r\n\r\nsorry", stays=False)
    assert asked(tmp_path, server, once) == (503, b"sorry")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 20", "breaks off"),
        (GOOD[:-1], "breaks off"),
        (GOOD + b"more", "longer than it says"),
        (b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, "100 Continue"),
        (b"220 mx.test ESMTP\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\ngood", "length is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood", "length is"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "99999999999 octets"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "has no end"),
    ],
)
def test_what_is_no_answer(tmp_path: Path, answer: bytes, why: str) -> None:
    with pytest.raises(ServiceMissingError, match=why):
        asked(tmp_path, Server(answer, stays=False), once)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceMissingError):
        asked(tmp_path, None, once)


def test_who_gives_up_takes_the_connection_along(tmp_path: Path) -> None:
    """The answer that comes late must not be taken for that to the next question."""

    class Late(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await reader.readuntil(b"x")
                await asyncio.sleep(0.2 if self.connections == 1 else 0)
                writer.write(self.answers.pop(0))
                await writer.drain()
            writer.close()

    async def twice(client: Client) -> tuple[int, bytes]:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post("/", [("Content-Length", "1")], [b"x"]), 0.05)
        return await client.post("/", [("Content-Length", "1")], [b"x"])

    server = Late(GOOD.replace(b"good", b"evil"), GOOD)
    server.answers.reverse()
    assert asked(tmp_path, server, twice, connections=1) == (200, b"good")
    assert server.connections == 2


def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    async def many(client: Client) -> list[tuple[int, bytes]]:
        return list(await asyncio.gather(*(once(client) for _ in range(8))))

    server = Server(*[GOOD] * 8)
    assert asked(tmp_path, server, many, connections=2) == [(200, b"good")] * 8
    assert server.connections <= 2


def test_a_header_with_a_line_end_is_not_sent(tmp_path: Path) -> None:
    async def sneaky(client: Client) -> tuple[int, bytes]:
        return await client.post("/", [("Helo", "a\r\nIP: 10.0.0.1")], [])

    server = Server(GOOD)
    with pytest.raises(ValueError, match="line end"):
        asked(tmp_path, server, sneaky)
    assert not server.asked


@pytest.mark.parametrize(
    "url", ["", "host:11333", "https://h:1", "http://", "http://h:port", "http://u@h:1", "http://h/?q"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        Client(url, 1)
