"""Names to addresses to connections: always by the platform's own resolver, never by what the host remembers.

Certificates are judged in checks of their own (`transport.py`): the dialogues take any, so that a certificate that has
ended does not hide whether mail can be read. The one password that they tell is of an account made for the run.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from postane.acceptance.result import Case, FailedError
from postane.acceptance.talk import Talk
from postane.core.question import Question
from postane.dns.secured import SecuredResolver

SECONDS = 10.0  # for one step of a dialogue
_MOST_OCTETS = 1 << 20
_REDIRECTS = 4

T = TypeVar("T", bound=Talk)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    url: str
    status: int
    kind: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Net:
    """`authorities` are files of authorities besides those that the system knows; `ports` others in tests."""

    resolver: SecuredResolver
    authorities: tuple[Path, ...] = ()
    ports: Mapping[int, int] = field(default_factory=dict)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """IPv6 addresses, then IPv4; an address is its own. Raises FailedError where there are none, TemporaryError."""
        with suppress(ValueError):
            return (str(ip_address(host)),)
        found = await self.resolver.addresses(host)
        if not found:
            raise FailedError("no_address", name=host)
        return found

    async def texts(self, name: str) -> tuple[str, ...]:
        """TXT records; () where there are none. Raises FailedError where nobody answers."""
        answer = await self.resolver.ask(Question(name, "TXT"))
        if answer.failed:
            raise FailedError("said", said=answer.failed)
        return answer.records

    async def connect(self, host: str, port: int) -> socket.socket:
        """To the first address that takes it. Raises FailedError, OSError."""
        addresses = await self.addresses(host)
        return await asyncio.to_thread(self.connect_to, addresses, port)

    async def talk(self, kind: type[T], case: Case, host: str, port: int, does: Callable[[T], R]) -> R:
        """A dialogue of that kind in a thread. Raises FailedError, OSError, and what `does` raises."""
        door = await self.connect(host, port)

        def work() -> R:
            with kind(door, host, case) as session:
                return does(session)

        return await asyncio.to_thread(work)

    def connect_to(self, addresses: tuple[str, ...], port: int) -> socket.socket:
        """The same in a thread, with addresses that are known."""
        failures = []
        port = self.ports.get(port, port)
        for address in addresses:
            try:
                return socket.create_connection((address, port), SECONDS)
            except OSError as error:
                failures.append(f"{address} port {port}: {error.strerror or error}")
        raise FailedError("no_connection", said="; ".join(failures))

    def trust(self, *, system_only: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for file in () if system_only else self.authorities:
            context.load_verify_locations(cafile=str(file))
        return context

    async def fetch(
        self, case: Case, url: str, *, body: bytes | None = None, follow: bool = False, kind: str = "text/xml"
    ) -> Page:
        """GET, or POST of a `body`; HTTPS with the certificate judged. Raises FailedError, OSError."""
        for _ in range(_REDIRECTS):
            parts = urlsplit(url)
            host, secure = parts.hostname or "", parts.scheme == "https"
            door = await self.connect(host, parts.port or (443 if secure else 80))
            path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            page, leads = await asyncio.to_thread(self._ask, door, host, secure, path, body, kind)
            case.note(f"{'GET' if body is None else 'POST'} {url}: {page.status} {page.kind}")
            if not (follow and leads and 300 <= page.status < 400):
                return Page(url, page.status, page.kind, page.octets)
            url = leads if "//" in leads else f"{parts.scheme}://{parts.netloc}/{leads.lstrip('./')}"
        raise FailedError("said", said=f"{url}: redirected more than {_REDIRECTS} times")

    def _ask(
        self, door: socket.socket, host: str, secure: bool, path: str, body: bytes | None, kind: str
    ) -> tuple[Page, str]:
        connection = http.client.HTTPConnection(host, timeout=SECONDS)
        try:
            connection.sock = self.trust().wrap_socket(door, server_hostname=host) if secure else door
            headers = {"Host": host, "User-Agent": "postane-acceptance"}
            if body is not None:
                headers["Content-Type"] = kind
            connection.request("GET" if body is None else "POST", path, body, headers)
            answer = connection.getresponse()
            page = Page("", answer.status, answer.headers.get("Content-Type", ""), answer.read(_MOST_OCTETS))
            return page, answer.headers.get("Location", "")
        except http.client.HTTPException as error:
            raise FailedError("said", said=f"{host}: {type(error).__name__} {error}") from error
        finally:
            connection.close()
            door.close()
