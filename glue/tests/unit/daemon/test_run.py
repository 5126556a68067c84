"""The processes as they are started: what a start loads, and that one over a folder that stands makes nothing anew."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.dev import free_port

# What a running mail daemon has no use for until somebody asks: each takes a tenth of a second or megabytes.
NEVER = {
    "alembic": "the schema is at its newest state",
    "sqlalchemy": "the daemon asks SQLite itself (storage/reader.py)",
    "mako": "belongs to Alembic",
    "cryptography.x509": "the certificate is there",
    "rich.progress": "nothing is shown",
    "postane.web": "is the API's",
    "postane.storage.schema": "tables are for the verbs",
    "uvicorn": "is the API's",
    "litestar": "is the API's",
}
PORTS = free_port(), free_port()
# Loaded after the fork, by the queue's process alone.
ONLY_QUEUE = ["postane.delivery.smtp", "postane.queue.runner", "postane.bounce.notices"]


def start(folder: Path, *options: str) -> tuple[float, float, str]:
    """`postane dev` until it is ready and told to stop: seconds, CPU seconds until then, what it wrote."""
    command = [
        sys.executable,
        *options,
        "-c",
        "from postane.cli.main import main; main()",
        "dev",
        f"--dir={folder}",
        f"--smtp=127.0.0.1:{PORTS[0]}",
        f"--submission=127.0.0.1:{PORTS[1]}",
        "--workers=1",
        "--account=ayse:secret-word",
    ]
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    took = time.monotonic() - begun
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said


def test_a_start_loads_only_what_a_mail_daemon_needs(tmp_path: Path) -> None:
    first = start(tmp_path)
    again = start(tmp_path)
    _, _, said = start(tmp_path, "-X", "importtime")
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", said, re.MULTILINE))
    assert {"postane.daemon.supervisor", "postane.smtpd.server", *ONLY_QUEUE} <= loaded  # it is the whole that is seen
    assert [name for name in NEVER if any(f"{one}.".startswith(f"{name}.") for one in loaded)] == []
    for what, (took, cpu, _) in (("first start", first), ("next start", again)):
        print(f"{what}: ready after {took:.2f} s, {cpu:.2f} s of CPU with the stop")


def test_what_only_the_queue_needs_takes_no_memory_elsewhere() -> None:
    code = "import sys, postane.cli.main, postane.admin.dev, postane.daemon.run; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    loaded = said.stdout.split()
    assert "postane.daemon.wiring" in loaded
    assert [name for name in ONLY_QUEUE if name in loaded] == []


def test_a_start_over_a_folder_that_stands_changes_nothing_in_it(tmp_path: Path) -> None:
    def made() -> dict[str, int]:
        paths = [
            tmp_path / "directory.sqlite3",
            tmp_path / "postane.yml",
            *tmp_path.glob("tls/*"),
            *tmp_path.glob("keys/**/*.pem"),
        ]
        return {str(path): path.stat().st_mtime_ns for path in paths}

    start(tmp_path)
    before = made()
    assert len(before) == 5
    start(tmp_path)
    assert made() == before
