"""What the service tells systemd, by datagrams to $NOTIFY_SOCKET (sd_notify(3)); without that socket, nothing.

Never fails: a lost notice is systemd's to notice, not a reason to stop taking mail.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Holds the address of systemd's socket; `watchdog_interval` is how often `watchdog` is due, 0.0 for never."""

    def __init__(self, address: str = "", watchdog_interval: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval = watchdog_interval

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; half of the watchdog's time is the interval."""
        micros = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = int(micros) / 2e6 if micros.isdigit() and meant else 0.0
        return cls(environ.get("NOTIFY_SOCKET", ""), interval)

    def ready(self, status: str = "") -> None:
        self._send("READY=1", status)

    def reloading(self) -> None:
        """`ready` must follow when the reload is done; systemd wants the time of the request with it."""
        self._send("RELOADING=1", extra=f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        self._send("", text)

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "", extra: str = "") -> None:
        if not self._address:
            return
        lines = [state, extra, f"STATUS={status}" if status else ""]
        message = "\n".join(line for line in lines if line).encode()
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(message, self._address)
