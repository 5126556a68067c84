"""What the benchmark asks of a server, ours or another's: start, hold delivery, count what arrived, empty, stop."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from bench import tree

MAILBOXES = 10
DOMAIN = "demo.test"
_SMALL = 64 * 1024

# The load generator's connections come from 127.0.0.1 … 127.0.0.250: a server that looks its clients up by name shall
# find them at once and not measure this machine's resolver. For servers that can be given an /etc/hosts of their own.
HOSTS = "127.0.0.1 localhost\n" + "".join(f"127.0.0.{last} c{last}.far.test\n" for last in range(2, 251))


class Skip(Exception):  # noqa: N818 - not an error: the run goes on without it
    """This peer cannot run here, and why: printed and kept in the results; never a figure in its place."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def apart(folder: Path) -> None:
    """Folders that are made in it get a part of the disk each, as ext4 does for those at the top of a disk.

    For five minutes ext4 gives out no inode that was deleted, and looks at each of them anew for every file that is
    made in the same part: what one server deletes (its queue, as a rule) would make the files of another three times
    as dear. Elsewhere than on ext4 it does nothing.
    """
    with contextlib.suppress(OSError):
        subprocess.run(["chattr", "+T", str(folder)], stderr=subprocess.DEVNULL)


class Peer:
    """One server over a folder of its own on the disk that all share. A subclass says how it is set up.

    `name` stands in the table; `version` is known after `start`. It hosts u0 … u9 at each of `domain_names`.
    """

    name = ""
    queues = True  # False: a message is in its mailbox before the 250
    version = ""
    process: subprocess.Popen[bytes]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken = 0
        self.port = free_port()
        self.prefix: list[str] = []  # a tracer before the command; it must end up beside the server, not above it
        self.domain_names = [DOMAIN]

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
        """Takes away all delivered mail; nothing is under way.

        Small mail is moved aside, not deleted (see `apart`): nobody's figures should hold that cost of ours.
        """
        aside = self.folder / "taken-away"
        aside.mkdir(exist_ok=True)
        for path in self.mailboxes():
            if path.exists():
                for entry in os.scandir(path):
                    if entry.stat().st_size > _SMALL:
                        Path(entry.path).unlink()
                    else:
                        self._taken += 1
                        Path(entry.path).rename(aside / str(self._taken))

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
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **more,
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
            self.kill()

    def kill(self) -> None:
        """The whole tree at once."""
        if hasattr(self, "process"):
            for pid in tree.processes(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
