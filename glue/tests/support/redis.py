"""A real Redis server for tests: on a socket and a port of its own, in a folder of the test."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from support.dev import free_port
from support.disk import need


class RedisServer:
    """Started and ended by the test; what it holds is gone with it."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` as on its command line. Skips the test where there is no redis-server and none can be had."""
        need("redis-server")
        self.folder = folder
        self.port = free_port()
        self.socket = folder / "redis.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "redis-server",
                *("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
                *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < end, "redis-server did not start"
            time.sleep(0.01)

    def pause(self, *, go_on: bool = False) -> None:
        """It is there and says nothing, until it goes on."""
        assert self._process is not None
        self._process.send_signal(18 if go_on else 19)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)
