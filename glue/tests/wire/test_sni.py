"""The certificate that a peer is shown: that of the name it means, without a reload; at each of the three doors."""

from __future__ import annotations

import smtplib
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postane.core.peer import Service
from postane.tls.layout import FOLDER
from postane.tls.store import Store
from support.pebble import make_server_certificate
from support.wire import Wire


def put(wire: Wire, domain: str, *names: str) -> bytes:
    """A certificate as the issuer puts it; returns its DER."""
    make_server_certificate(wire.folder, *names, stem="new")
    chain, key = ((wire.folder / f"new.{end}").read_bytes() for end in ("pem", "key"))
    Store(wire.folder).put(domain, names, chain, key)
    return ssl.PEM_cert_to_DER_cert(chain.decode())


def shown(wire: Wire, service: Service, name: str | None) -> bytes:
    """What a handshake shows to whoever means `name`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = wire.ports[service]
    if service is Service.SUBMISSIONS:
        with smtplib.SMTP_SSL("127.0.0.1", port, context=meaning(context, name), timeout=10) as session:
            session.ehlo()
            return der(session)
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
        session.starttls(context=meaning(context, name))
        session.ehlo()
        return der(session)


def meaning(context: ssl.SSLContext, name: str | None) -> Any:
    """A context whose handshakes name somebody else than the library would."""
    return SimpleNamespace(wrap_socket=lambda sock, server_hostname: context.wrap_socket(sock, server_hostname=name))


def der(session: smtplib.SMTP) -> bytes:
    assert isinstance(session.sock, ssl.SSLSocket)
    certificate = session.sock.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def host(wire: Wire) -> bytes:
    pem = wire.ca.read_text()
    return ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])


@pytest.mark.parametrize("service", Service)
def test_a_name_gets_its_certificate_and_a_renewed_one_at_once(wire: Wire, service: Service) -> None:
    first = put(wire, "shop.test", "mail.shop.test", "smtp.shop.test")
    assert shown(wire, service, "mail.shop.test") == first
    assert shown(wire, service, "SMTP.shop.test") == first
    second = put(wire, "shop.test", "mail.shop.test")
    assert shown(wire, service, "mail.shop.test") == second != first
    assert shown(wire, service, "smtp.shop.test") == host(wire)


@pytest.mark.parametrize(
    "name", [None, "mx.test", "mail.nobody.test", "kept", "current.a.test", "x" * 63 + ".test", "tls", "lock"]
)
def test_whoever_names_nobody_that_is_here_gets_the_certificate_of_the_host(wire: Wire, name: str | None) -> None:
    put(wire, "shop.test", "mail.shop.test")
    assert shown(wire, Service.SMTP, name) == host(wire)


def raw(name: bytes) -> bytes:
    """A ClientHello that means `name`, whatever octets it is of: a library's, with its name replaced."""
    context = ssl.create_default_context()
    out = ssl.MemoryBIO()
    stands = ".".join(["x" * 9] * (len(name) // 10 + 1))[: len(name)].rstrip(".").ljust(len(name), "x")
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=stands)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = out.read()
    assert hello.count(stands.encode()) == 1
    return hello.replace(stands.encode(), name)


@pytest.mark.parametrize(
    "name",
    [
        b"../../mx.pem",
        b"/etc/passwd",
        b".kept/shop.test",
        b".lock",
        b"\xff\xfe",
        b"a\nb.test",
        b"." * 200,
        b"mail.shop.test",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Python's own word about \xff
def test_octets_that_are_no_name_harm_nobody(wire: Wire, name: bytes) -> None:
    certificate = put(wire, "shop.test", "mail.shop.test")
    with socket.create_connection(("127.0.0.1", wire.ports[Service.SUBMISSIONS]), timeout=10) as connection:
        connection.sendall(raw(name))
        answer = connection.recv(65_536)
    assert bool(answer) or name != b"mail.shop.test"  # others may be hung up on
    assert shown(wire, Service.SMTP, "mail.shop.test") == certificate


def test_a_certificate_that_cannot_be_used_is_not_shown(wire: Wire) -> None:
    put(wire, "broken.test", "mail.broken.test")
    current = wire.folder / FOLDER / ".kept/broken.test/current"
    Path(current / "privkey.pem").write_text("nothing")
    assert shown(wire, Service.SMTP, "mail.broken.test") == host(wire)
    assert shown(wire, Service.SMTP, "mail.shop.test") != host(wire)
