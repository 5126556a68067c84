"""Listening sockets: handed over by systemd (so that a restart refuses no connection), or opened here.

Source: sd_listen_fds(3): LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, first descriptor 3.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from postane.core.errors import ConfigError, ServiceMissingError

Doors = dict[str, list[socket.socket]]
BACKLOG = 4096


def from_systemd(environ: Mapping[str, str]) -> Doors:
    """The sockets by their names ("smtp", "submission", "submissions", …); empty if systemd handed none to us."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(environ.get("LISTEN_FDS", "0"))
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    doors: Doors = {}
    for number in range(count):
        listening = socket.socket(fileno=3 + number)
        listening.setblocking(False)
        os.set_inheritable(listening.fileno(), False)
        doors.setdefault(names[number] if number < len(names) else "", []).append(listening)
    return doors


def open_listener(address: str) -> socket.socket:
    """A listening socket for `host:port`, `[::1]:port` or `[::]:port` (then for IPv4 too).

    Raises ConfigError for a malformed address, ServiceMissingError (exit 69) for a port that cannot be had.
    """
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    if not bare or not port.isdigit():
        raise ConfigError(f"listen: {address!r} is not host:port")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if bare == "::" else 1)
        listening.bind((bare, int(port)))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        hint = f"see who has it: ss -ltnp 'sport = :{port}'" if error.errno == 98 else ""
        raise ServiceMissingError(f"cannot listen on {address}: {error.strerror}", hint=hint) from error
    listening.setblocking(False)
    return listening
