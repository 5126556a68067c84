from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from postane.admin import queue
from postane.core.errors import NotFoundError, ServiceMissingError, TemporaryError, UsageError
from postane.queue.control import Answer, Request


class Process:
    """Stands for the queue process: answers each request with `answer`."""

    def __init__(self, folder: Path) -> None:
        self.answer: Answer | None = Answer()
        self.requests: list[Request] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "queue.sock"))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                channel, _ = self._server.accept()
            except OSError:
                return
            with channel, channel.makefile("rb") as file:
                self.requests.append(msgspec.json.decode(file.readline(), type=Request))
                if self.answer is not None:
                    channel.sendall(msgspec.json.encode(self.answer) + b"\n")

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(2)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    one.close()


def test_requests_carry_what_is_meant(process: Process, tmp_path: Path) -> None:
    queue.every(tmp_path, queue.Filter(domain="x.test"), limit=7)
    queue.steer(tmp_path, "hold", queue.Filter(), dry_run=True)
    assert process.requests[0] == Request("list", queue.Filter(domain="x.test"), limit=7)
    assert process.requests[1] == Request("hold", queue.Filter(), True)


def test_unknown_id_is_said(process: Process, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="01ABC"):
        queue.show(tmp_path, "01ABC")
    with pytest.raises(NotFoundError, match="01ABC"):
        queue.steer(tmp_path, "drop", queue.Filter(ids=("01ABC",)))


def test_error_and_hang_up_are_temporary(process: Process, tmp_path: Path) -> None:
    process.answer = Answer(error="the disk is full")
    with pytest.raises(TemporaryError, match="the disk is full"):
        queue.every(tmp_path, queue.Filter())
    process.answer = None
    with pytest.raises(TemporaryError, match="closed"):
        queue.every(tmp_path, queue.Filter())


@pytest.mark.parametrize("left_over", [False, True])
def test_no_process_is_said_with_a_hint(tmp_path: Path, left_over: bool) -> None:
    if left_over:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "queue.sock"))
    with pytest.raises(ServiceMissingError) as caught:
        queue.stats(tmp_path, queue.Filter())
    assert caught.value.exit_code == 69
    assert "postane-queue" in caught.value.hint


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2H", 7200), ("1.5d", 129600)])
def test_ages(text: str, seconds: float) -> None:
    assert queue.parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1h", "5y", "1h30m"])
def test_no_ages(text: str) -> None:
    with pytest.raises(UsageError, match="no age"):
        queue.parse_age(text)
