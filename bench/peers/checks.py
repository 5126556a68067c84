"""What all built-in filters ask: names in the DNS, Rspamd, ClamAV. Each server has its own, and all are set alike."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

from bench import packages
from bench.name_server import NXDOMAIN, NameServer, Records
from bench.peer import Skip
from bench.peers.rspamd import OWNER, Rspamd

DNS = "127.53.0.1"  # port 53, since that is where programs of the C library ask
LISTS = ("zen.bl.test", "second.bl.test")  # of addresses
DOMAIN_LIST = "domains.bl.test"

# Rspamd takes loopback for the host itself, and spares it most checks; here it is where peers come from.
RSPAMD = {"options.inc": 'local_addrs = ["192.0.2.0/24"];\n'}
CLAMAV = 'clamav {{ type = "clamav"; servers = "{socket}"; action = "reject"; scan_mime_parts = false; }}\n'

RECORDS: Records = {
    ("far.test", "A"): ["127.0.0.1"],
    ("far.test", "MX"): ["far.test"],
    ("far.test", "TXT"): ["v=spf1 ip4:127.0.0.0/8 -all"],
    ("_dmarc.far.test", "TXT"): ["v=DMARC1; p=none"],
    ("1.0.0.127.in-addr.arpa", "PTR"): ["c1.far.test"],
    ("c1.far.test", "A"): ["127.0.0.1"],
    **{(f"{last}.0.0.127.in-addr.arpa", "PTR"): [f"c{last}.far.test"] for last in range(2, 251)},
    **{(f"c{last}.far.test", "A"): [f"127.0.0.{last}"] for last in range(2, 251)},
    # By these lists are tested (RFC 5782): 127.0.0.2 is a peer here, so that another address stands for it.
    **{(f"2.9.9.127.{zone}", "A"): ["127.0.0.2"] for zone in LISTS},
    (f"test.{DOMAIN_LIST}", "A"): ["127.0.1.2"],
}


class Clamd:
    """With two signatures of its own, as none can be fetched: a scan costs its unpacking, and hardly a comparison."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.socket = folder / "clamd.sock"
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers. Raises Skip."""
        program = shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin")
        libraries = ""
        if program is None:
            root = packages.unpacked("clamav-daemon", self._store)
            program, libraries = str(root / "usr/sbin/clamd"), packages.library_path(root)
        shutil.rmtree(self.folder, ignore_errors=True)
        database = self.folder / "db"
        database.mkdir(parents=True)
        (database / "own.ndb").write_text(
            f"One-Test:0:*:{b'no mail has this'.hex()}\nTwo-Test:0:*:{b'nor this'.hex()}\n"
        )
        owner = pwd.getpwnam(OWNER)
        os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        (self.folder / "clamd.conf").write_text(
            f"LocalSocket {self.socket}\nLocalSocketMode 666\nForeground yes\nDatabaseDirectory {database}\n"
            f"TemporaryDirectory {self.folder}\nUser {OWNER}\nStreamMaxLength 50M\nMaxThreads 4\nSelfCheck 3600\n"
        )
        with (self.folder / "clamd.log").open("wb") as out:
            self._process = subprocess.Popen(
                [program, "-c", str(self.folder / "clamd.conf")],
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise Skip(f"clamd did not start: {(self.folder / 'clamd.log').read_text()[-300:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            one.connect(str(self.socket))
            one.sendall(b"zPING\0")
            return one.recv(10).startswith(b"PONG")
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
            self._process = None


class Services:
    """All of them for one server. `scans_viruses`: Rspamd asks ClamAV, for a server that does not do it itself."""

    _dns: NameServer | None = None  # one for all: its answers are the same for everybody
    _users = 0

    def __init__(self, folder: Path, store: Path, *, scans_viruses: bool) -> None:
        self.clamd = Clamd(folder.with_name(f"{folder.name}.clamd"), store)
        more = dict(RSPAMD)
        if scans_viruses:
            more["antivirus.conf"] = CLAMAV.format(socket=self.clamd.socket)
        place = folder.with_name(f"{folder.name}.scanner")
        self.rspamd = Rspamd(place, store, name_server=f"{DNS}:53", more=more)
        self._runs = False

    def start(self) -> None:
        """Raises Skip."""
        if self._runs:
            return
        if os.geteuid() != 0:
            raise Skip("port 53 of a loopback address is opened by root")
        self._runs = True
        if Services._dns is None:
            try:
                Services._dns = NameServer(NXDOMAIN, 53, host=DNS, records=RECORDS)
            except OSError as error:
                raise Skip(f"port 53 of {DNS}: {error.strerror}") from error
        Services._users += 1
        self.clamd.start()
        self.rspamd.start()

    def stop(self) -> None:
        if not self._runs:
            return
        self._runs = False
        self.rspamd.stop()
        self.clamd.stop()
        Services._users = max(0, Services._users - 1)
        if Services._users == 0 and Services._dns is not None:
            Services._dns.close()
            Services._dns = None
