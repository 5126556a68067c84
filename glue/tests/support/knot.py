"""A real Knot on loopback, where it is installed: hosted zones by its catalog, and zones that take DNS UPDATE."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.update

_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
KNOTD = shutil.which("knotd", path=_PATH)
KNOTC = shutil.which("knotc", path=_PATH)
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"

_CONFIG = """
server:
    rundir: {folder}
    listen: [{listen}]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    automatic-acl: off
control:
    listen: {folder}/knot.sock
database:
    storage: {folder}
    journal-db-max-size: 100M
    kasp-db-max-size: 20M
    catalog-db-max-size: 20M
log:
  - target: {folder}/log
    any: notice
key:
  - id: writer
    algorithm: hmac-sha256
    secret: {secret}
  - id: reader
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: write
    key: writer
    action: [update, transfer]
  - id: read
    key: reader
    action: transfer
policy:
  - id: one-key
    single-type-signing: on
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: {folder}
    zonefile-load: none
    zonefile-sync: -1
    journal-content: all
    serial-policy: increment
  - id: hosted
    storage: {folder}
    zonefile-load: none
    zonefile-sync: -1
    journal-content: all
  - id: updated
    storage: {folder}
    file: "%s.zone"
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: changes
    acl: [write, read]
  - id: signed
    storage: {folder}
    file: "%s.zone"
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: changes
    acl: [write, read]
    dnssec-signing: on
    dnssec-policy: one-key
zone:
  - domain: catalog.postane
    catalog-role: interpret
    catalog-template: hosted
{zones}
"""


@dataclass(frozen=True)
class RunningKnot:
    port: int
    socket: str
    address: str = "127.0.0.1"


@contextlib.contextmanager
def running(
    folder: Path,
    zones: dict[str, str] | None = None,
    *,
    addresses: Sequence[str] = ("127.0.0.1",),
    port: int = 0,
    signed: Collection[str] = (),
) -> Iterator[RunningKnot]:
    """`zones`: texts of zones that take updates; SOA and NS are added. It signs those of them that are `signed`."""
    assert KNOTD
    port = port or free_port()
    names = zones or {}
    for name, text in names.items():
        head = f"@ 3600 SOA ns.{name}. host.{name}. 1 3600 600 86400 60\n@ 3600 NS ns.{name}.\nns 3600 A 127.0.0.1\n"
        (folder / f"{name}.zone").write_text(f"$ORIGIN {name}.\n{head}{text}")
    entries = "".join(
        f"  - domain: {name}\n    template: {'signed' if name in signed else 'updated'}\n" for name in names
    )
    listen = ", ".join(f"{address}@{port}" for address in addresses)
    config = folder / "knot.conf"
    config.write_text(_CONFIG.format(folder=folder, listen=listen, secret=SECRET, zones=entries))
    process = subprocess.Popen(
        [KNOTD, "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        control = str(folder / "knot.sock")
        _wait(control, process)
        knotc(control, ["zone-begin catalog.postane."])
        knotc(control, ["zone-set catalog.postane. catalog.postane. 0 SOA invalid. invalid. 1 3600 600 2147483646 0"])
        knotc(control, ["zone-set catalog.postane. catalog.postane. 0 NS invalid."])
        knotc(control, ["zone-set catalog.postane. version.catalog.postane. 0 TXT 2"])
        knotc(control, ["zone-commit catalog.postane."])
        yield RunningKnot(port, control, addresses[0])
    finally:
        process.terminate()
        process.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def change(server: RunningKnot, zone: str, remove: Sequence[str] = (), add: Sequence[str] = ()) -> None:
    """As if by hand, by DNS UPDATE: `remove` are `owner type [data]`, `add` are `owner ttl type data`."""
    update = dns.update.UpdateMessage(zone, keyring=dns.tsig.Key("writer", SECRET, "hmac-sha256"))
    for one in remove:
        owner, *rest = one.split(None, 2)
        update.delete(dns.name.from_text(owner), *rest)
    for one in add:
        owner, ttl, kind, data = one.split(None, 3)
        update.add(dns.name.from_text(owner), int(ttl), kind, data)
    answer = dns.query.tcp(update, server.address, 10, server.port)
    assert answer.rcode() == dns.rcode.NOERROR, dns.rcode.to_text(answer.rcode())


def knotc(control: str, commands: Sequence[str]) -> str:
    assert KNOTC
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run([KNOTC, "--socket", control], input=text, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


def _wait(control: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "knotd does not start"
        if Path(control).exists() and "error" not in knotc(control, ["status"]):
            return
        time.sleep(0.05)
    raise AssertionError("knotd does not answer")
