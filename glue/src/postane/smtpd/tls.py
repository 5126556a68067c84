"""TLS at the SMTP doors: the host's certificate for whoever names nobody, and that of a hosted domain by its name.

A peer says in its handshake whom it means (SNI, RFC 6066 section 3). The certificates of service names are found on the
disk at that moment, so that a new domain, or a renewal, needs no reload; connections that stand are not touched.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from pathlib import Path
from typing import cast

import structlog

from postane.config.model import Tls
from postane.core.errors import ConfigError
from postane.tls.layout import CHAIN, FOLDER, KEY, version_of

log = structlog.get_logger("smtpd")

_KEPT = 1000  # contexts of domains in memory, 10 KiB each


def make_context(settings: Tls, state: Path | None = None) -> ssl.SSLContext | None:
    """None where no certificate is configured. Raises ConfigError for one that cannot be loaded.

    TLS 1.2 and 1.3 (RFC 8996 retires what is older); an opportunistic peer with less is served in clear. With `state`,
    the certificates of hosted domains in that state folder are shown to those who name them.
    """
    if not settings.certificate:
        return None
    context = _bare()
    try:
        context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls: {settings.certificate}: {error}") from error
    if state is not None:
        context.sni_callback = ByName(state / FOLDER)
    return context


class ByName:
    """Changes a handshake over to the certificate of the name that the peer means; of an unknown one, or without any,
    the host's stays (a sending server looks at another's certificate only where its policy says so).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contexts: OrderedDict[Path, ssl.SSLContext | None] = OrderedDict()

    def __call__(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        if name and (found := self.find(name)) is not None:
            handshake.context = found

    def find(self, name: str) -> ssl.SSLContext | None:
        """Never raises: a handshake hangs on it."""
        version = version_of(self._folder, name.lower().removesuffix("."))
        if version is None:
            return None
        if version not in self._contexts:
            self._contexts[version] = self._load(version)
            if len(self._contexts) > _KEPT:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(version)
        return self._contexts[version]

    def _load(self, version: Path) -> ssl.SSLContext | None:
        context = _bare()
        try:
            context.load_cert_chain(version / CHAIN, version / KEY)
        except (OSError, ssl.SSLError) as error:
            log.error("certificate_unusable", folder=str(version), reason=str(error))
            return None
        return context


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Hands octets to a protocol as its transport would."""
    buffered = cast(asyncio.BufferedProtocol, protocol)
    while data:
        buffer = memoryview(cast(bytearray, buffered.get_buffer(len(data))))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        buffered.buffer_updated(size)
        data = data[size:]
