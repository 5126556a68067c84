"""A real clamd with signatures of our own, on a unix socket in a folder; and a peer that plays a broken one."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

# The test file that every scanner knows, never in one piece on a disk.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SUSPECT = b"POSTANE" + b"-HEURISTIC-TEST"
STREAM_MAX = 3 * 1024 * 1024  # octets

MISSING = "clamd is not installed: apt-get install clamav-daemon"


def installed() -> str | None:
    return shutil.which("clamd", path=os.environ.get("PATH", "") + ":/usr/sbin")


class Clamd:
    """Started with a database of two signatures: it is ready in a second and takes 16 MB."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clamd.ctl"
        database = folder / "db"
        database.mkdir()
        (database / "own.ndb").write_text(
            f"Eicar-Test:0:*:{EICAR.hex()}\nHeuristics.Postane-Test:0:*:{SUSPECT.hex()}\n"
        )
        configuration = folder / "clamd.conf"
        configuration.write_text(
            f"LocalSocket {self.path}\nForeground yes\nDatabaseDirectory {database}\nTemporaryDirectory {folder}\n"
            f"User {pwd.getpwuid(os.geteuid()).pw_name}\nStreamMaxLength {STREAM_MAX}\nMaxThreads 2\n"
            "ExtendedDetectionInfo yes\n"
        )
        program = installed()
        assert program is not None, MISSING
        self._log = (folder / "clamd.out").open("wb")
        self._process = subprocess.Popen([program, "-c", str(configuration)], stdout=self._log, stderr=self._log)
        until = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, (folder / "clamd.out").read_text()
            assert time.monotonic() < until, "clamd does not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.connect(str(self.path))
            line.sendall(b"zPING\0")
            return line.recv(100) == b"PONG\0"
        return False

    def hang(self, hang: bool = True) -> None:
        """It takes connections and says nothing."""
        self._process.send_signal(signal.SIGSTOP if hang else signal.SIGCONT)

    def stop(self) -> None:
        self.hang(False)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def stream(reader: asyncio.StreamReader) -> bytes:
    """What an INSTREAM brings, its chunks joined; each is of a size that clamd takes."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    text = b""
    while length := int.from_bytes(await reader.readexactly(4), "big"):
        assert length <= 256 * 1024
        text += await reader.readexactly(length)
    return text


def says(answer: bytes, wait: float = 0.0) -> Script:
    """Reads a whole stream, then answers."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)
        await asyncio.sleep(wait)
        writer.write(answer)

    return script


def cuts(answer: bytes = b"") -> Script:
    """Closes after the first octets of the stream, with or without a word."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(14)
        if answer:
            writer.write(answer)
            await writer.drain()

    return script


class Peer:
    """Plays clamd on a unix socket, each connection by the script."""

    def __init__(self, path: Path, script: Script) -> None:
        self.path = path
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self._script = script

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                await self._script(reader, writer)
        finally:
            self.at_once -= 1
            writer.close()
