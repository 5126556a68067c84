"""Rspamd from Debian's package, unpacked into a private folder: one for each server that asks it, with equal settings.

Its rules are Debian's; what would ask the Internet (fuzzy hashes, its own update) is off, and every DNS question is
answered at once with "no such name", so that a scan costs what its rules cost.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench import packages
from bench.name_server import NXDOMAIN, NameServer
from bench.peer import Skip

OWNER = "daemon"  # an account and a group that every Debian has

OPTIONS = """
dns {{ nameserver = ["{dns}"]; timeout = 1s; retransmits = 2; }}
pidfile = "{folder}/run/rspamd.pid";
control_socket = "{folder}/run/rspamd.sock mode=0600";
"""
LOCAL = {
    "options.inc": OPTIONS,
    "logging.inc": 'type = "file"; filename = "{folder}/log/rspamd.log"; level = "warning";\n',
    "worker-normal.inc": 'bind_socket = "{http} mode=0666"; count = 2;\n',
    "worker-controller.inc": "enabled = false;\n",
    "worker-fuzzy.inc": "enabled = false;\n",
    "worker-proxy.inc": 'bind_socket = "{milter} mode=0666"; milter = yes; count = 2;\n'
    'timeout = 30s; upstream "local" {{ default = yes; self_scan = yes; }}\n',
    "fuzzy_check.conf": "enabled = false;\n",
    "greylist.conf": "enabled = false;\n",
    "phishing.conf": "openphish_enabled = false; phishtank_enabled = false;\n",
}


class Rspamd:
    """`http` and `milter` are the paths of its sockets: TCP would cost each message a tenth more, on both sides."""

    def __init__(
        self, folder: Path, store: Path, *, name_server: str = "", more: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """`name_server` is host:port, where another is asked than one that knows no name; `more` are further files of
        local.d, or lines behind those that are here.
        """
        self.folder = folder
        self._name_server = name_server
        self._more = more
        self.version = ""
        self.http, self.milter = folder / "run" / "http.sock", folder / "run" / "milter.sock"
        self._store = store
        self._dns: NameServer | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers. Raises Skip."""
        if os.geteuid() != 0:
            raise Skip("Rspamd must be started by root")
        root = packages.unpacked("rspamd", self._store)
        self.version = packages.version(root, "rspamd")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(root / "etc" / "rspamd", self.folder / "etc")
        owner = pwd.getpwnam(OWNER)
        for name in ("run", "db", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, owner.pw_uid, owner.pw_gid)
        if not self._name_server:
            self._dns = NameServer(NXDOMAIN)
        dns = self._name_server or f"127.0.0.1:{self._dns.port if self._dns else 0}"
        given = {"folder": self.folder, "http": self.http, "milter": self.milter, "dns": dns}
        for name, text in LOCAL.items():
            (self.folder / "etc" / "local.d" / name).write_text(text.format(**given))
        for name, text in self._more.items():
            with (self.folder / "etc" / "local.d" / name).open("a") as out:
                out.write(text)
        share = root / "usr/share/rspamd"
        places = {
            "CONFDIR": self.folder / "etc",
            "LOCAL_CONFDIR": self.folder / "etc",
            "RUNDIR": self.folder / "run",
            "DBDIR": self.folder / "db",
            "LOGDIR": self.folder / "log",
            "SHAREDIR": share,
            "PLUGINSDIR": share / "plugins",
            "RULESDIR": share / "rules",
            "LUALIBDIR": share / "lualib",
            "WWWDIR": share / "www",
        }
        command = [
            str(root / "usr/bin/rspamd"),
            "-f",
            "-u",
            OWNER,
            "-g",
            OWNER,
            "-c",
            str(self.folder / "etc/rspamd.conf"),
        ]
        command += [f"--var={name}={path}" for name, path in places.items()]
        libraries = f"{root / 'usr/lib/rspamd'}{os.pathsep}{packages.library_path(root)}"
        with (self.folder / "stderr.log").open("wb") as out:
            self._process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as one:
                one.settimeout(20)
                one.connect(str(self.http))
                one.sendall(b"POST /checkv2 HTTP/1.1\r\nContent-Length: 17\r\n\r\nSubject: x\r\n\r\nx\r\n")
                with one.makefile("rb") as said:  # it closes after its answer
                    if b'"action"' in said.read():
                        return
            time.sleep(0.2)
        words = [path.read_text(errors="replace")[-300:] for path in self.folder.glob("**/*.log")]
        raise Skip(f"Rspamd did not answer: {' '.join(' '.join(words).split())[-400:]}")

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._dns is not None:
            self._dns.close()
