"""A real SMTP service on loopback for wire dialogues: real sockets, real spool, a directory of three people."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postane.config.model import Limits, Smtp, Spool, Tls
from postane.core.address import Address
from postane.core.envelope import Recipient
from postane.core.errors import TemporaryError
from postane.core.peer import Service
from postane.core.ports import Body, Claimed, Login, Resolved
from postane.core.verdict import Suspect
from postane.filters.base import Filter, Options
from postane.filters.case import FilterCase, Policy
from postane.filters.pipeline import Pipeline
from postane.smtpd.dialogue import Facts
from postane.smtpd.handler import MailHandler
from postane.smtpd.limits import Sessions
from postane.smtpd.server import Door
from postane.smtpd.tls import make_context
from postane.spool.view import SpoolView
from postane.spool.writer import SpoolWriter

PEOPLE = {"ayse@demo.test", "mehmet@demo.test", "çiğdem@demo.test"}


class FixedFilters:
    """A core.ports.Filters of filters that are made already; everybody has the same policy."""

    def __init__(self, filters: Sequence[Filter[Options]], suspect: Suspect = "junk") -> None:
        self._policy = Policy(Pipeline(filters), suspect)

    @property
    def phases(self) -> frozenset[str]:
        return self._policy.pipeline.phases

    def open(self) -> FilterCase:
        return FilterCase(lambda wishes: self._policy, self._policy.pipeline.judge)

    async def close(self) -> None:
        await self._policy.pipeline.close()


class People:
    """A core.ports.Directory in memory; `broken` makes it fail."""

    broken = False

    def resolve_cached(self, address: Address) -> Resolved | None:
        return None  # every look-up takes its time here, as at the first mail

    async def resolve(self, address: Address) -> Resolved:
        if self.broken:
            raise TemporaryError("the directory is away")
        if address.key == "info@demo.test":
            targets = [Recipient("ayse@demo.test"), Recipient("away@far.test", kind="remote")]
        else:
            key = address.without_tag().key
            targets = [Recipient(key)] if key in PEOPLE or key == "postmaster@mx.test" else []
        return Resolved(address.key_domain in ("demo.test", "mx.test"), tuple(targets), "default")

    async def authenticate(self, login: str, password: str) -> Login | None:
        return Login(login, "default") if login in PEOPLE and password == "right" else None

    async def may_send_as(self, account: str, sender: Address) -> bool:
        return sender.without_tag().key == account


class Signer:
    """Puts a mark where a signature would stand; `broken` makes it fail."""

    broken = False

    def sign(self, domain: str, head: bytes, body: Body) -> bytes:
        if self.broken:
            raise TemporaryError("the key cannot be read")
        return f"X-Signed: {domain}\r\n".encode()


class Wire:
    """The service in a thread with a loop of its own."""

    def __init__(
        self,
        folder: Path,
        limits: Limits | None = None,
        filters: tuple[Filter[Any], ...] = (),
        relay_from: tuple[str, ...] = (),
        reserve: int = 0,
    ) -> None:
        self.folder = folder
        self.people = People()
        self.signer = Signer()
        self.ca = self._certificate()
        self.limits = limits or Limits(message_size=200_000)
        self.filters = filters
        self.relay_from = relay_from
        self.reserve = reserve
        self.ports: dict[Service, int] = {}
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()  # the loop of the real processes
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.call(self._open())

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> None:
        settings = Spool(segment_size=1 << 20, large_message=32_768, reserve=self.reserve)
        self.spool = SpoolWriter(self.folder / "spool", settings)
        self.view = SpoolView(self.folder / "spool", settings)
        tls = make_context(Tls(certificate=str(self.ca), key=str(self.ca)), self.folder)
        handler = MailHandler(
            Smtp(limits=self.limits, relay_from=self.relay_from),
            self.people,
            FixedFilters(self.filters),
            self.spool,
            self.signer,
            time.time,
            tls_offered=True,
        )
        self.sessions = Sessions(self.limits)
        self.doors = []
        self._servers = []
        for service in Service:
            door = Door(Facts("mx.test", service, tls_offered=True), self.limits, handler, self.sessions, tls)
            server = await self._loop.create_server(door, "127.0.0.1", 0)
            self.ports[service] = server.sockets[0].getsockname()[1]
            self.doors.append(door)
            self._servers.append(server)

    def close(self) -> None:
        async def down() -> None:
            for server in self._servers:
                server.close()
            for door in self.doors:
                for session in list(door.servers):
                    session._abort()
            await asyncio.sleep(0)
            await self.view.close()
            await self.spool.close()

        self.call(down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The service does nothing meanwhile."""
        stands, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            stands.set()
            go_on.wait(20)

        self._loop.call_soon_threadsafe(hold)
        stands.wait(20)
        try:
            yield
        finally:
            go_on.set()

    def each_door(self, work: Callable[[Door], None]) -> None:
        for door in self.doors:
            self._loop.call_soon_threadsafe(work, door)

    def mail(self) -> list[Claimed]:
        """What was accepted since the last call."""

        async def poll() -> list[Claimed]:
            return self.view.poll()

        found: list[Claimed] = self.call(poll())
        return found

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def _certificate(self) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("mx.test")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = self.folder / "mx.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


class Line:
    """A raw connection: says octets, reads replies."""

    def __init__(
        self, wire: Wire, service: Service = Service.SMTP, *, hello: bool = True, source: str = "127.0.0.1"
    ) -> None:
        self.wire = wire
        address = ("127.0.0.1", wire.ports[service])
        self.socket: socket.socket = socket.create_connection(address, 10, source_address=(source, 0))
        if service is Service.SUBMISSIONS:
            self.socket = wire.context.wrap_socket(self.socket, server_hostname="mx.test")
        self._buffer = b""
        self.greeting = self.read()
        if hello:
            self.ehlo = self("EHLO client.test")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read(self) -> str:
        """One whole reply; "" when the peer has closed."""
        lines = []
        while True:
            while b"\r\n" not in self._buffer:
                try:
                    got = self.socket.recv(65_536)
                except ConnectionError:
                    got = b""
                if not got:
                    return ""
                self._buffer += got
            line, self._buffer = self._buffer.split(b"\r\n", 1)
            lines.append(line.decode())
            if line[3:4] == b" ":
                return "\n".join(lines)

    def __call__(self, text: str) -> str:
        self.send(text.encode() + b"\r\n")
        return self.read()

    def starttls(self) -> None:
        assert self("STARTTLS").startswith("220")
        self.socket = self.wire.context.wrap_socket(self.socket, server_hostname="mx.test")
        self("EHLO client.test")

    def close(self) -> None:
        self.socket.close()
