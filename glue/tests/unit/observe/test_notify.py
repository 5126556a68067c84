from __future__ import annotations

import socket
from pathlib import Path

from postane.observe.notify import Notifier


def test_states_reach_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(1)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "30000000"})
        assert notifier.watchdog_interval == 15.0
        notifier.ready("3 workers")
        assert server.recv(999) == b"READY=1\nSTATUS=3 workers"
        notifier.reloading()
        assert server.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.watchdog()
        assert server.recv(999) == b"WATCHDOG=1"
        notifier.stopping()
        assert server.recv(999) == b"STOPPING=1"


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    assert notifier.watchdog_interval == 0.0
    notifier.ready()
    Notifier("/nonexistent/socket").ready()
