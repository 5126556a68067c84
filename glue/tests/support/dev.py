"""`postane dev` as a process tree to be driven, hurt and read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

POSTANE = Path(sys.executable).parent / "postane"


def free_port() -> int:
    """Below those that the system gives to clients: else one may have it while a server is down between two lives."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


class Dev:
    """One `postane dev` over a folder that outlives its processes."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        accounts: int = 3,
        log: Path | None = None,
        inside: Path | None = None,
        before: Sequence[str] = (),
        more: Sequence[str] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`before` is a command that runs the command behind it in its own place (`exec`); there the folder may have
        another name, `inside`. `more` are options, `environment` is set besides this process's.
        """
        self.folder = folder
        self.smtp, self.submission = free_port(), free_port()
        self.people = [f"user{number}" for number in range(accounts)]
        self._command = [
            *before,
            str(POSTANE),
            "dev",
            f"--dir={inside or folder}",
            f"--smtp=127.0.0.1:{self.smtp}",
            f"--submission=127.0.0.1:{self.submission}",
            f"--workers={workers}",
            *(f"--account={name}:password-{name}" for name in self.people),
            *more,
        ]
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.log = log or folder.with_suffix(".log")

    def start(self) -> float:
        """Returns the seconds until `ready`."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            # A session of its own: the whole tree can be killed at one blow.
            self.process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        assert self.process.stdout is not None
        heard = b""
        while b"ready\n" not in heard:
            ready, _, _ = select.select([self.process.stdout], [], [], 30)
            piece = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                raise AssertionError(f"postane dev did not get ready:\n{self.log.read_text()[-3000:]}")
            heard += piece
        return time.monotonic() - begun

    def kill(self) -> None:
        """kill -9 of everything at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._forget()

    def close(self) -> None:
        """At the end of a test, whatever came of it: nothing of the tree stays."""
        if self.process is not None:
            self.kill()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(40)
        self._forget()
        return code

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    def children(self) -> list[int]:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def delivered(self) -> Counter[str]:
        """How often each mark (see `message`) lies in the mailboxes; a mail that was altered is marked so."""
        return delivered(self.folder)


def delivered(folder: Path) -> Counter[str]:
    """How often each mark (see `message`) lies in the mailboxes; a mail that was altered is marked so."""
    found: Counter[str] = Counter()
    for path in (*folder.glob("vmail/*/*/Maildir/new/*"), *folder.glob("vmail/*/*/Maildir/cur/*")):
        octets = path.read_bytes()
        mark = octets.partition(b"X-Mark: ")[2].partition(b"\r\n")[0].decode()
        text = octets[octets.find(b"Subject: ") :]
        found[mark if mark == digest(text) else f"altered {path}"] += 1
    return found


def digest(text: bytes) -> str:
    """Of the body alone: the mark stands in the header."""
    return hashlib.sha256(text.partition(b"\r\n\r\n")[2]).hexdigest()[:24]


def message(number: int, size: int) -> tuple[str, bytes]:
    """A mail whose X-Mark is the digest of its body, and that mark. Each number has a body of its own."""
    line = f"{number:012} ".encode() * 5
    body = b"".join(b"%s%d\r\n" % (line, at) for at in range(max(1, size // 70)))
    text = b"Subject: crash test\r\nX-Mark: %s\r\n\r\n" + body
    mark = digest(text)
    return mark, text % mark.encode()
