"""Teaches Rspamd what is spam and what is not, through its controller (HTTP, `/learnspam` and `/learnham`).

Blocking, for the verbs of an operator and an owner: one message at a time, a connection each.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from postane.core.errors import ConfigError, PermanentError, ServiceMissingError

Kind = Literal["ham", "spam"]

_TIMEOUT = 30.0  # seconds
_KNOWN = (204, 208)  # it was sure of it, or has learned it already

Piece = bytes | bytearray | memoryview


def learn(url: str, password: str, kind: Kind, pieces: Iterable[Piece], *, recipient: str = "") -> bool:
    """Teaches one message; False: it was known already. `recipient` names whose own statistics are meant, if any.

    `url` is http://host:port or the path of a socket. Raises ServiceMissingError if nobody answers, PermanentError if
    the controller refuses, ConfigError for no URL.
    """
    octets = b"".join(pieces)
    headers = {"Content-Type": "application/octet-stream"}
    if password:
        headers["Password"] = password
    if recipient.isascii() and recipient.isprintable() and recipient:
        headers["Rcpt"] = headers["Deliver-To"] = recipient
    connection = _connection(url)
    try:
        connection.request("POST", f"/learn{kind}", body=octets, headers=headers)
        response = connection.getresponse()
        said = response.read(4096)
    except (OSError, http.client.HTTPException) as error:
        raise ServiceMissingError(f"Rspamd's controller at {url}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if response.status in _KNOWN or (response.status == 404 and b"already learned" in said):
        return False
    if response.status != 200:
        raise PermanentError(f"Rspamd's controller answers {response.status}: {said.decode('utf-8', 'replace')[:200]}")
    return True


def password_in(file: str) -> str:
    """The first line of a file, "" where none is named. Raises ConfigError."""
    if not file:
        return ""
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"quarantine.learn_secret_file: {file}: {error}") from error


def _connection(url: str) -> http.client.HTTPConnection:
    if url.startswith("/"):
        return _UnixConnection(url)
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"{url!r} is no place of a controller: http://host:port, or the path of a socket")
    return http.client.HTTPConnection(parts.hostname, parts.port or 11334, timeout=_TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
