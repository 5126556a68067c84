"""Postane as `postane dev` runs it: two workers, the queue beside them, delivery to Maildir, log to a file."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from bench import tree
from bench.peer import MAILBOXES, Peer, Skip, free_port

POSTANE = str(Path(sys.executable).parent / "postane")


class Postane(Peer):
    """`filters` is none or builtin; `name_server` is host:port where another than the machine's is asked."""

    def __init__(self, folder: Path, *, filters: str = "none", workers: int = 2, name_server: str = "") -> None:
        super().__init__(folder)
        self.submission = free_port()
        self.name = "postane" if filters == "none" else f"postane-{filters}"
        self.version = version("postane")
        self._filters = filters
        self._workers = workers
        self._name_server = name_server
        self.filters_file: Path | None = None

    def start(self) -> None:
        if self._filters == "builtin" and self.filters_file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.filters_file = self.folder / "filters.yml"
            self.filters_file.write_text("filters:\n  use: [attachments, lists]\n")
        command = [POSTANE, "dev", f"--dir={self.folder / 'dev'}", f"--smtp=127.0.0.1:{self.port}"]
        command += [f"--submission=127.0.0.1:{self.submission}", f"--workers={self._workers}"]
        command += [f"--filters={self._filters}", *(f"--account=u{number}:bench" for number in range(MAILBOXES))]
        if self._name_server:
            command.append(f"--nameserver={self._name_server}")
        if self.filters_file is not None:
            command.append(f"--filters-file={self.filters_file}")
        self.spawn(command)
        self.wait_for_port()
        # The queue process may be a moment later than the workers.
        end = time.monotonic() + 20
        while not self._queue_process():
            if time.monotonic() > end:
                raise Skip(f"no queue process: {self.last_words()}")
            time.sleep(0.05)

    def run(self, *words: str) -> None:
        """A verb of the command, on this server's folder."""
        command = [POSTANE, f"--config={self.folder / 'dev' / 'postane.yml'}", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Skip(f"postane {' '.join(words)}: {done.stderr.strip()[-200:]}")

    def hold(self) -> int:
        """Stops the queue process, and nothing else: the workers take mail as ever and nobody reads their logs.

        The supervisor replaces a process that is silent for 30 s, so a held round is shorter.
        """
        for pid in self._queue_process():
            os.kill(pid, signal.SIGSTOP)
        return self.port

    def discard(self) -> None:
        """A new process tree over an empty spool: quicker than to deliver what was held."""
        self.kill()
        for name in ("spool", "vmail"):
            shutil.rmtree(self.folder / "dev" / name, ignore_errors=True)
        self.start()

    def stop(self) -> None:
        if hasattr(self, "process"):
            for pid in self._queue_process():
                os.kill(pid, signal.SIGCONT)  # a held round may have been cut short
        super().stop()

    def _queue_process(self) -> list[int]:
        """The process that holds the operator's socket of the queue."""
        path = str(self.folder / "dev" / "run" / "queue.sock")
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        wanted = {f"socket:[{line[6]}]" for line in lines if line[-1] == path}
        return [pid for pid in tree.processes(self.process.pid) if wanted & _open_files(pid)]

    def mailboxes(self) -> list[Path]:
        root = self.folder / "dev" / "vmail"
        return [
            root / name / f"u{number}" / "Maildir" / "new" for name in self.domain_names for number in range(MAILBOXES)
        ]


def _open_files(pid: int) -> set[str]:
    with contextlib.suppress(OSError):
        return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
