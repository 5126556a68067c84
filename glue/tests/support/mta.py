"""Foreign mail servers for tests: aiosmtpd on loopback addresses, in the test's own loop."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Mta:
    """One server. `rcpt` are replies by address, `final` the reply to the data; both None for the usual."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        self.rcpt: dict[str, str] = {}
        self.mail: str | None = None
        self.final: str | None = None
        self.received: list[Envelope] = []
        self.tls: list[bool] = []
        self.connections = 0
        self._options: dict[str, Any] = {"hostname": "peer.test", "enable_SMTPUTF8": True, **options}
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Port 0 takes a free one. Returns the port."""

        def connect() -> SMTP:
            self.connections += 1
            return SMTP(self, **self._options)

        self._server = await asyncio.get_running_loop().create_server(connect, self.address, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    # -- aiosmtpd's handler -----------------------------------------------------------------------------------------

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mail:
            return self.mail
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self.rcpt.get(address, "250 2.1.5 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.final:
            return self.final
        self.received.append(envelope)
        self.tls.append(session.ssl is not None)
        return "250 2.0.0 Queued"


def certificate(folder: Path) -> ssl.SSLContext:
    """A server context with a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer.test")])
    now = datetime.now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
