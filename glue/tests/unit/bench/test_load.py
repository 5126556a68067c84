"""The load generator against servers that behave, that refuse, and that know no pipelining."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from bench import load
from bench.load import Load

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")


@dataclass
class Server:
    """A small SMTP server, a thread a connection; it keeps what it was told."""

    pipelining: bool = True
    refused: str = ""  # a reply to RCPT instead of 250
    port: int = 0
    texts: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    early: int = 0  # commands that came before the reply to the one before
    sessions: int = 0

    def serve(self, one: socket.socket) -> None:
        self.sessions += 1
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with one, one.makefile("rwb", buffering=0) as stream, contextlib.suppress(OSError):
            stream.write(b"220 ready\r\n")
            while line := stream.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    stream.write(
                        b"250-hello\r\n250-PIPELINING\r\n250 HELP\r\n" if self.pipelining else b"250 hello\r\n"
                    )
                elif verb == b"RCPT":
                    self.recipients.append(line.decode().strip())
                    stream.write(self.refused.encode() or b"250 ok\r\n")
                elif verb == b"DATA":
                    stream.write(b"354 go on\r\n")
                    text = b""
                    while not text.endswith(b"\r\n.\r\n"):
                        text += stream.readline()
                    self.texts.append(text)
                    stream.write(b"250 kept\r\n")
                elif verb == b"QUIT":
                    stream.write(b"221 bye\r\n")
                    return
                else:
                    one.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        self.early += len(one.recv(1, socket.MSG_PEEK))
                    one.setblocking(True)
                    stream.write(b"250 ok\r\n")


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        server.port = door.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = door.accept()
                    threading.Thread(target=server.serve, args=(one,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        door.shutdown(socket.SHUT_RDWR)


def test_messages_are_whole_and_counted() -> None:
    with running(Server()) as server:
        found = load.send(Load("x", 4096, 5, connections=3), server.port, messages=23, to_count=4)
    assert (found["messages"], found["errors"], found["first_error"]) == (23, 0, "")
    assert len(server.texts) == 23
    assert {text.count(b"\r\n.\r\n") for text in server.texts} == {1}
    assert all(3900 < len(text) <= 4200 for text in server.texts)
    numbers = [text.partition(b"Subject: load ")[2][:10] for text in server.texts]
    assert len(set(numbers)) == 23
    assert {line.partition("<")[2] for line in server.recipients} == {f"u{box}@demo.test>" for box in range(4)}
    # No more than five messages a connection; on a busy machine a greeting may take more than a second.
    assert 5 <= server.sessions - found["redialled"] <= 8
    assert 0 < found["p50"] <= found["p99"] <= found["max"]


def test_one_message_a_connection() -> None:
    with running(Server()) as server:
        found = load.send(Load("x", 1000, 1, connections=4), server.port, messages=10)
    assert found["messages"] == server.sessions - found["redialled"] == 10


def test_no_command_is_sent_early_where_pipelining_is_not_offered() -> None:
    with running(Server(pipelining=False)) as server:
        found = load.send(Load("x", 1000, 3, connections=2), server.port, messages=6)
    assert (found["messages"], server.early) == (6, 0)
    assert len(set(server.recipients)) == 6  # a message keeps its recipient from MAIL to RCPT


def test_a_refusal_is_an_error_with_the_peers_words_and_no_message() -> None:
    with running(Server(refused='451 4.7.1 "Later"\r\n')) as server:
        found = load.send(Load("x", 1000, 1, connections=2), server.port, messages=4)
    assert (found["messages"], found["errors"]) == (0, 4)
    assert found["first_error"] == '451 4.7.1 "Later"'


def test_a_time_is_kept() -> None:
    with running(Server()) as server:
        found = load.send(Load("x", 1000, 10, connections=2), server.port, seconds=0.3)
    assert found["messages"] >= 1
    assert found["seconds"] >= 0.3
    # Each connection's own pace added up: no less than all messages over the time of the last.
    assert found["rate"] >= found["messages"] / found["seconds"] - 0.1
