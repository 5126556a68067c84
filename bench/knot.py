"""A Knot of the benchmark's own at port 53 of an address on loopback, set up as the role `dns` does.

It is a parent too: the zone `test.`, in which every hosted domain is delegated to this same server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from bench import packages
from bench.peer import Skip

ADDRESS = "127.0.53.1"  # of the whole net 127.0.0.0/8 that is this machine
HOST = "mail.host.test"

_CONFIG = """
server:
    rundir: {folder}
    listen: {address}@53
    automatic-acl: off
control:
    listen: {folder}/knot.sock
database:
    storage: {folder}
    journal-db-max-size: 2G
    kasp-db-max-size: 500M
    catalog-db-max-size: 200M
log:
  - target: {folder}/knot.log
    any: warning
policy:
  - id: postane
    algorithm: ecdsap256sha256
    nsec3: off
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
    dnssec-signing: on
    dnssec-policy: postane
  - id: parent
    storage: {folder}
    file: "%s.zone"
    zonefile-load: whole
    journal-content: none
zone:
  - domain: catalog.postane
    catalog-role: interpret
    catalog-template: hosted
  - domain: test
    template: parent
"""
_CATALOG = (
    "zone-begin catalog.postane.",
    "zone-set catalog.postane. catalog.postane. 0 SOA invalid. invalid. 1 3600 600 2147483646 0",
    "zone-set catalog.postane. catalog.postane. 0 NS invalid.",
    "zone-set catalog.postane. version.catalog.postane. 0 TXT 2",
    "zone-commit catalog.postane.",
)


class Knot:
    """`names` are delegated to it. `socket` is its control socket."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.socket = str(folder / "knot.sock")
        self._names = names
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises Skip."""
        if os.geteuid() != 0:
            raise Skip("Knot has to be at port 53, which only root may open")
        programs = [packages.program(name, "knot") for name in ("knotd", "knotc")]
        if None in programs:
            raise Skip("Knot is not here: apt-get install knot")
        self._refuse_another()
        self.folder.mkdir(parents=True, exist_ok=True)
        delegated = "".join(f"{name}. NS {HOST}.\n" for name in self._names)
        head = f"$TTL 3600\ntest. SOA {HOST}. root.{HOST}. 1 3600 600 86400 60\ntest. NS {HOST}.\n{HOST}. A {ADDRESS}\n"
        (self.folder / "test.zone").write_text(head + delegated)
        config = self.folder / "knot.conf"
        config.write_text(_CONFIG.format(folder=self.folder, address=ADDRESS))
        self._process = subprocess.Popen(
            [str(programs[0]), "--config", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        end = time.monotonic() + 30
        while "error" in self._say(["status"]) or not Path(self.socket).exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise Skip(f"knotd does not start: {self._last_words()}")
            time.sleep(0.1)
        if "error" in (said := self._say(_CATALOG)):
            raise Skip(f"Knot refuses the catalog: {said.strip()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _refuse_another(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((ADDRESS, 53))
            except OSError as error:
                raise Skip(f"another name server has {ADDRESS} port 53: {error.strerror}") from error

    def _say(self, commands: list[str] | tuple[str, ...]) -> str:
        knotc = shutil.which("knotc")
        assert knotc
        text = "".join(f"{command}\n" for command in commands)
        done = subprocess.run([knotc, "--socket", self.socket], input=text, capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return " ".join((self.folder / "knot.log").read_text(errors="replace").split())[-400:]
        return "it said nothing"
