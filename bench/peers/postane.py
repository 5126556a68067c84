"""Postane as `postane dev` runs it: two workers, the queue beside them, delivery to Maildir, log to a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from bench import tree
from bench.peer import MAILBOXES, Peer, Skip


class Postane(Peer):
    """`filters` is none or builtin."""

    def __init__(self, folder: Path, *, filters: str = "none", workers: int = 2, domains: int = 1) -> None:
        super().__init__(folder, domains=domains)
        self.name = "postane" if filters == "none" else f"postane-{filters}"
        self.version = version("postane")
        self._filters = filters
        self._workers = workers

    def start(self) -> None:
        # A handful of accounts by the command; the rest of a large directory is written by growth.py before.
        names = self.domain_names[:1]
        accounts = [f"--account=u{number}@{name}:bench" for name in names for number in range(MAILBOXES)]
        command = [str(Path(sys.executable).parent / "postane"), "dev", f"--dir={self.folder / 'dev'}"]
        command += [f"--smtp=127.0.0.1:{self.port}", "--submission=127.0.0.1:0", f"--workers={self._workers}"]
        command += [f"--filters={self._filters}", *(f"--domain={name}" for name in names), *accounts]
        self.spawn(command)
        self.wait_for_port()

    def hold(self) -> int:
        """Stops the queue process, and nothing else: the workers take mail as ever and nobody reads their logs.

        The supervisor replaces a process that is silent for 30 s, so a held round is shorter.
        """
        for pid in self._queue_process():
            os.kill(pid, signal.SIGSTOP)
        return self.port

    def discard(self) -> None:
        """A new process tree over an empty spool: quicker than to deliver what was held."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for name in ("spool", "vmail"):
            shutil.rmtree(self.folder / "dev" / name, ignore_errors=True)
        self.start()

    def _queue_process(self) -> list[int]:
        """The process that holds the operator's socket of the queue."""
        path = str(self.folder / "dev" / "run" / "queue.sock")
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        wanted = {f"socket:[{line[6]}]" for line in lines if line[-1] == path}
        found = [pid for pid in tree.processes(self.process.pid) if wanted & _open_files(pid)]
        if not found:
            raise Skip("the queue process is not found")
        return found

    def mailboxes(self) -> list[Path]:
        root = self.folder / "dev" / "vmail"
        return [root / name / f"u{number}" / "Maildir" / "new" for name in self.domain_names for number in range(MAILBOXES)]


def _open_files(pid: int) -> set[str]:
    with contextlib.suppress(OSError):
        return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
