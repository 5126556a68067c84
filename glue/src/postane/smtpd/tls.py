"""The TLS context of the SMTP doors: one object for the life of a worker, whose certificate can be renewed in place."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from postane.config.model import Tls
from postane.core.errors import ConfigError


def make_context(settings: Tls) -> ssl.SSLContext | None:
    """None where no certificate is configured. Raises ConfigError for one that cannot be loaded.

    TLS 1.2 and 1.3 (RFC 8996 retires what is older); an opportunistic peer with less is served in clear.
    """
    if not settings.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: Tls) -> None:
    """Handshakes from now on show what lies in the files now; connections that stand are not touched."""
    try:
        context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {settings.certificate}: {error}") from error


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Hands octets to a protocol as its transport would."""
    buffered = cast(asyncio.BufferedProtocol, protocol)
    while data:
        buffer = memoryview(cast(bytearray, buffered.get_buffer(len(data))))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        buffered.buffer_updated(size)
        data = data[size:]
