"""`postane daemon smtpd` and `queue` as systemd runs them: on sockets that outlive them, with notices."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from postane.admin.dev import _certificate
from support.dev import POSTANE, Dev

# What systemd does between fork and exec: descriptors from 3 on, and whose they are.
_EXEC = """
import os, sys
sockets = [int(word) for word in sys.argv[1].split(",") if word]
for number, descriptor in enumerate(sockets):
    os.dup2(descriptor, 3 + number, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Notices:
    """systemd's end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait_for(self, word: str, seconds: float = 20) -> None:
        """Until a notice with this line comes; earlier ones are passed over."""
        end = time.monotonic() + seconds
        self._socket.settimeout(seconds)
        while word not in self._socket.recv(4096).decode().splitlines():
            assert time.monotonic() < end, f"no {word}"

    def close(self) -> None:
        self._socket.close()


class Service:
    """One of the two services; its listening sockets are the test's, as they are systemd's."""

    def __init__(self, site: Site, name: str, sockets: dict[str, socket.socket]) -> None:
        self._site = site
        self._name = name
        self._sockets = sockets
        self.notices = Notices(site.folder / f"{name}.notify")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = site.folder / f"{name}.log"

    def start(self) -> None:
        """Returns when it says that it is ready."""
        # High ones, so that none lies where another has to go.
        handed = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in self._sockets.values()]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.notices.path),
            "LISTEN_FDS": str(len(handed)),
            "LISTEN_FDNAMES": ":".join(self._sockets),
        }
        command = [sys.executable, "-c", _EXEC, ",".join(map(str, handed))]
        command += [str(self._site.current / "bin" / "postane"), "--config", str(self._site.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "daemon", self._name], stderr=log, pass_fds=handed, env=environment
            )
        for descriptor in handed:
            os.close(descriptor)
        self.notices.wait_for("READY=1")

    def reload(self) -> None:
        """Returns when it says that the reload is over."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        self.notices.wait_for("RELOADING=1")
        self.notices.wait_for("READY=1")

    def children(self) -> list[int]:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def stop(self) -> int:
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(40)
        self.process = None
        return code

    def close(self) -> None:
        self.stop()
        self.notices.close()


class Site:
    """A folder with a directory of one domain, its configuration, and both services."""

    def __init__(self, folder: Path, *, workers: int = 2, accounts: int = 3) -> None:
        dev = Dev(folder, workers=workers, accounts=accounts)  # makes all that a site needs
        dev.start()
        assert dev.stop() == 0
        self.folder = folder
        self.people = dev.people
        self.config = folder / "postane.yml"
        self.certificate = folder / "tls" / "mail.demo.test.pem"
        self.current = folder / "current"
        self.switch("1")
        self.sockets = {name: _listener() for name in ("smtp", "submission")}
        self.smtp = self.sockets["smtp"].getsockname()[1]
        self.smtpd = Service(self, "smtpd", self.sockets)
        self.queue = Service(self, "queue", {})

    def switch(self, version: str) -> None:
        """The link `current` shows to another version, in one step."""
        commands = self.folder / "versions" / version / "bin"
        commands.mkdir(parents=True)
        (commands / "postane").symlink_to(POSTANE)
        new = self.folder / "current.new"
        new.symlink_to(commands.parent)
        new.replace(self.current)

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes the configuration's file."""
        values = yaml.safe_load(self.config.read_text("utf-8"))
        change(values)
        self.config.write_text(yaml.safe_dump(values), "utf-8")

    def renew_certificate(self) -> None:
        """A new one in the place of the old, as the issuer does it."""
        made = _certificate(self.folder / "tls" / f"new-{time.monotonic_ns()}.pem", "mail.demo.test")
        made.replace(self.certificate)

    def close(self) -> None:
        self.smtpd.close()
        self.queue.close()
        for one in self.sockets.values():
            one.close()


def _listener() -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(4096)
    return listening


class Threads:
    """Clients that run until told to stop; what goes wrong in one is kept."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.failures: list[str] = []
        self._threads: list[threading.Thread] = []

    def run(self, work: Callable[[], None], count: int = 1) -> None:
        """`work` again and again, in `count` threads."""

        def loop() -> None:
            while not self.stopping.is_set():
                try:
                    work()
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                    time.sleep(0.01)

        for _ in range(count):
            thread = threading.Thread(target=loop, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
