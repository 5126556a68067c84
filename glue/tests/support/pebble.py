"""A real ACME authority on loopback, Debian's `pebble`, with a web server that shows the challenges of a folder."""

from __future__ import annotations

import contextlib
import datetime
import functools
import http.server
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

PEBBLE = shutil.which("pebble")
KID, HMAC = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass(frozen=True)
class RunningPebble:
    """`bundle` judges the directory; `webroot` is served to it for every name."""

    directory: str
    bundle: Path
    webroot: Path
    process: subprocess.Popen[bytes]

    def root(self) -> bytes:
        """The root of what it issues, PEM."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        port = int(self.directory.split(":")[2].split("/")[0])
        with urllib.request.urlopen(f"https://127.0.0.1:{port + 1}/roots/0", context=context, timeout=5) as said:
            return bytes(said.read())


@contextlib.contextmanager
def running(
    folder: Path, nameserver: str, *, external: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[RunningPebble]:
    """`nameserver` as host:port is what it resolves with. `environment`: PEBBLE_… settings beside the quick ones."""
    assert PEBBLE
    folder.mkdir(exist_ok=True)
    webroot = folder / "webroot"
    webroot.mkdir(exist_ok=True)
    make_server_certificate(folder)
    port = _two_ports()
    with _web(webroot) as http_port:
        settings: dict[str, object] = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{port + 1}",
            "certificate": str(folder / "server.pem"),
            "privateKey": str(folder / "server.key"),
            "httpPort": http_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external,
        }
        if external:
            settings["externalAccountMACKeys"] = {KID: HMAC}
        (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [PEBBLE, "-config", str(folder / "pebble.json"), "-dnsserver", nameserver],
                env={**os.environ, **quick, **(environment or {})},
                stdout=log,
                stderr=log,
            )
        try:
            _wait(port, process)
            yield RunningPebble(f"https://127.0.0.1:{port}/dir", folder / "server.pem", webroot, process)
        finally:
            process.terminate()
            process.wait(10)


def make_server_certificate(
    folder: Path, *names: str, begins: float = -1.0, days: float = 2.0, stem: str = "server"
) -> None:
    """`<stem>.pem` and `<stem>.key`: one that vouches for itself, for 127.0.0.1 or for `names`; it begins so many days
    from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0] if names else "127.0.0.1")])
    first = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=begins)
    local = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(first + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(one) for one in names] or [x509.DNSName("localhost"), local]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{stem}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / f"{stem}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@contextlib.contextmanager
def _web(webroot: Path) -> Iterator[int]:
    """As nginx does it: the folder for /.well-known/acme-challenge/, whatever the name."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            head, _, token = path.rpartition("/")
            return str(webroot / token) if head == "/.well-known/acme-challenge" else str(webroot / "none")

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(webroot)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _two_ports() -> int:
    """The first of two neighbours that are free."""
    for _ in range(50):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError):
                two.bind(("127.0.0.1", port + 1))
                return port
    raise AssertionError("no two ports are free")


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "pebble does not start"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("pebble does not answer")
