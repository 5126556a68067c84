"""Fetches the public suffix list over HTTPS: only if it has changed, within bounds of size and time.

Blocking, for a verb that runs once a month. The server's certificate is verified against the system's authorities.
"""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from postane.core.errors import ServiceMissingError, UsageError
from postane.filters.auth.suffix_list import MOST

_REDIRECTS = 3
_PIECE = 64 * 1024  # octets
_PAUSE = 15.0  # seconds for one answer of the network
_SECONDS = 60.0  # for all of it


@dataclass(frozen=True, slots=True)
class Condition:
    """What the server said of the list that is here: with it, it need not be sent again."""

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`octets` is None where the list is still the one that the condition describes."""

    octets: bytes | None
    condition: Condition


def fetch(url: str, condition: Condition) -> Fetched:
    """Raises UsageError for no HTTPS URL, ServiceMissingError for whatever the server or the way to it does wrong."""
    end = time.monotonic() + _SECONDS
    for _ in range(_REDIRECTS + 1):
        connection, path = _connection(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "postane"}
        if condition.etag:
            headers["If-None-Match"] = condition.etag
        if condition.last_modified:
            headers["If-Modified-Since"] = condition.last_modified
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and (place := answer.getheader("Location")):
                url = urljoin(url, place)
                continue
            return _read(url, answer, condition, end)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServiceMissingError(f"{url}: {error or type(error).__name__}") from error
        finally:
            connection.close()
    raise ServiceMissingError(f"{url}: sends elsewhere again and again")


def _connection(url: str) -> tuple[http.client.HTTPSConnection, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise UsageError(f"{url!r}: the list is fetched by https:// alone")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(parts.hostname, port, timeout=_PAUSE, context=context), path


def _read(url: str, answer: http.client.HTTPResponse, asked: Condition, end: float) -> Fetched:
    if answer.status == 304 and asked != Condition():
        return Fetched(None, asked)
    if answer.status != 200:
        raise ServiceMissingError(f"{url}: answers {answer.status} {answer.reason}")
    if (coding := answer.getheader("Content-Encoding", "identity")) != "identity":
        raise ServiceMissingError(f"{url}: sends it as {coding}, which was not asked for")
    octets = bytearray()
    while piece := answer.read1(_PIECE):
        octets += piece
        if len(octets) > MOST:
            raise ServiceMissingError(f"{url}: sends more than {MOST} octets")
        if time.monotonic() > end:
            raise ServiceMissingError(f"{url}: is slower than {_SECONDS:g} s")
    if answer.length:  # read1 tells nothing of what is missing
        raise ServiceMissingError(f"{url}: the answer breaks off, {answer.length} octets early")
    said = Condition(_shown(answer.getheader("ETag")), _shown(answer.getheader("Last-Modified")))
    return Fetched(bytes(octets), said)


def _shown(value: str | None) -> str:
    """A header's value that can be sent back as it came; else none."""
    return value if value and len(value) <= 200 and value.isascii() and value.isprintable() else ""
