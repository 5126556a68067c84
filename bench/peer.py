"""What the benchmark asks of a server, ours or another's: start, hold delivery, count what arrived, empty, stop."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

MAILBOXES = 10
DOMAIN = "demo.test"


class Skip(Exception):
    """This peer cannot run here, and why: printed and kept in the results; never a figure in its place."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Peer:
    """One server over a folder of its own on the disk that all share. A subclass says how it is set up.

    `name` stands in the table; `version` is known after `start`. `domains` is how many domains it hosts, each with
    MAILBOXES mailboxes: u0 … u9 at demo.test, or at d0.test … where there are several.
    """

    name = ""
    version = ""
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path, *, domains: int = 1) -> None:
        self.folder = folder
        self.port = free_port()
        self.domain_names = [DOMAIN] if domains == 1 else [f"d{number}.test" for number in range(domains)]

    # What a subclass tells

    def start(self) -> None:
        """Returns once the port answers. Raises Skip."""
        raise NotImplementedError

    def hold(self) -> int:
        """From now on what is accepted at the port returned stays in the queue. Raises Skip."""
        raise NotImplementedError

    def discard(self) -> None:
        """Ends what `hold` began: what was held is thrown away, and the server is as it was."""
        raise NotImplementedError

    def mailboxes(self) -> list[Path]:
        """The folders that hold one file a delivered message."""
        raise NotImplementedError

    def empty(self) -> None:
        """Takes away all delivered mail; nothing is under way."""
        for path in self.mailboxes():
            if path.exists():
                for entry in os.scandir(path):
                    Path(entry.path).unlink()

    # What all share

    def delivered(self) -> int:
        """Messages in the mailboxes."""
        count = 0
        for path in self.mailboxes():
            try:
                count += len(os.listdir(path))  # noqa: PTH208 - the quickest there is: it is called many times a round
            except FileNotFoundError:
                continue
        return count

    def spawn(self, command: list[str], *, log: str = "stderr.log", **more: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / log).open("ab") as out:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **more
            )

    def wait_for_port(self, seconds: float = 30) -> None:
        """Until the greeting is heard. Raises Skip with the end of the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as one:
                    if one.recv(100).startswith(b"220"):
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise Skip(f"it did not answer within {seconds:.0f} s: {self.last_words()}")

    def last_words(self) -> str:
        words = [path.read_text(errors="replace")[-300:] for path in self.folder.glob("*.log")]
        return " ".join(" ".join(words).split())[-400:]

    def stop(self) -> None:
        if not hasattr(self, "process"):
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
