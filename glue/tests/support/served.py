"""The service of support.wire in a process of its own, so that what it costs can be read from the kernel."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from postane.config.model import Limits
from postane.core.peer import Service

_HERE = Path(__file__).parents[1]


class Served:
    """Limits as keywords of config.model.Limits."""

    def __init__(self, folder: Path, **limits: float | str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        command = [sys.executable, "-m", "support.served", str(folder), json.dumps(limits)]
        environment = {**os.environ, "PYTHONPATH": str(_HERE)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        ports = self._ask()
        self.ports = {Service(name): int(port) for name, port in ports.items() if name in list(Service)}

    def _ask(self) -> dict[str, int]:
        assert self._process.stdout is not None
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer

    def state(self) -> dict[str, int]:
        """`sessions` that are open, `mails` that were accepted since the last question."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return self._ask()

    def memory(self) -> int:
        """Octets that are the process's own (PSS)."""
        for line in Path(f"/proc/{self._process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no PSS")

    def processor(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)


def open_files(count: int) -> None:
    """Lets this process have so many files open. Raises ValueError where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _serve() -> None:
    from support.wire import Wire

    sys.stdout, out = sys.stderr, sys.stdout  # the log goes away, the answers to the test
    open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    wire = Wire(Path(sys.argv[1]), Limits(**json.loads(sys.argv[2])))
    print(json.dumps(wire.ports), file=out, flush=True)
    while sys.stdin.readline():
        wire.each_door(lambda door: door.sweep(time.monotonic()))
        print(json.dumps({"sessions": wire.sessions.open, "mails": len(wire.mail())}), file=out, flush=True)
    wire.close()


if __name__ == "__main__":
    _serve()
