"""`postane dev` with every built-in filter on, and the services that they ask: real ones, as far as they are here."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import yaml
from bench.name_server import NXDOMAIN, NameServer
from bench.peers.rspamd import Rspamd

from postane.filters.registry import BUILTIN, filter_class
from postane.observe import scrape
from support import clamd
from support.dev import Dev, free_port
from support.redis import RedisServer

STORE = Path(__file__).parents[3] / ".cache" / "bench"  # where `make bench` has unpacked Rspamd
ROOMY = Path(__file__).with_name("roomy.py")


class Services:
    """Each can be stopped and started again where it was. `missing` names those that are not here."""

    def __init__(self, folder: Path, *, redis: bool = False) -> None:
        self.folder = folder
        self.missing: set[str] = set()
        self._dns_port = free_port()
        self._dns: NameServer | None = None
        self._clamd: clamd.Clamd | None = None
        self.rspamd = Rspamd(folder / "rspamd", STORE)
        self.redis = RedisServer(folder) if redis else None
        if os.geteuid() != 0 or not (STORE / "rspamd" / ".whole").exists():
            self.missing.add("rspamd")
        if clamd.installed() is None:
            self.missing.add("clamd")

    @property
    def names(self) -> list[str]:
        every = {"dns", "rspamd", "clamd"} | ({"redis"} if self.redis else set())
        return sorted(every - self.missing)

    def start(self, name: str) -> None:
        match name:
            case "dns":
                self._dns = NameServer(NXDOMAIN, self._dns_port)
            case "rspamd":
                self.rspamd.start()
            case "clamd":
                place = self.folder / "clamd"
                place.mkdir(exist_ok=True)
                for path in place.glob("db/*"):
                    path.unlink()
                with suppress(FileNotFoundError):
                    (place / "db").rmdir()
                self._clamd = clamd.Clamd(place)
            case "redis":
                assert self.redis is not None
                self.redis.start()

    def stop(self, name: str) -> None:
        match name:
            case "dns" if self._dns is not None:
                self._dns.close()
                self._dns = None
            case "rspamd":
                self.rspamd.stop()
            case "clamd" if self._clamd is not None:
                self._clamd.stop()
                self._clamd = None
            case "redis" if self.redis is not None:
                self.redis.stop()

    def settings(self, **options: dict[str, Any]) -> dict[str, Any]:
        """The section `filters`: all built-in ones. `options` by filter are laid over what the services need."""
        own: dict[str, dict[str, Any]] = {}
        for name in BUILTIN:  # a peer on loopback is one like any other
            known = {field.name for field in msgspec.structs.fields(filter_class(name).options_type)}
            own[name] = {"trusted_peers": []} if "trusted_peers" in known else {}
        own["rspamd"] |= {"url": str(self.rspamd.http)}
        own["clamav"] |= {"address": str(self.folder / "clamd" / "clamd.ctl")}
        own["journal"] |= {"to": ["user1@demo.test"]}
        own["disclaimer"] |= {"text": "Sent by a test."}
        own["dnsbl"] |= {"lists": [{"zone": "list.test", "inside": True}]}
        own["greylist"] |= {"name": False, "generic": False}  # nobody has a name here
        own["rates"] |= {"peer": [{"counts": "messages", "rate": 1_000_000}], "net": []}
        for name, more in options.items():
            own.setdefault(name, {}).update(more)
        settings: dict[str, Any] = {"use": sorted(BUILTIN), "options": {k: v for k, v in own.items() if v}}
        if self.redis is not None:
            settings["store"] = self.redis.url
        return {"filters": settings}

    def dev(self, folder: Path, settings: dict[str, Any], *, workers: int = 1, **limits: float) -> Dev:
        """Not yet started. `limits` as keywords of config.model.Limits."""
        file = self.folder / "filters.yml"
        file.write_text(yaml.safe_dump(settings))
        return Dev(
            folder,
            workers=workers,
            accounts=2,
            before=[sys.executable, "-P", str(ROOMY), json.dumps(limits)],
            more=[f"--filters-file={file}", f"--nameserver=127.0.0.1:{self._dns_port}"],
        )


class Session:
    """A raw dialogue."""

    def __init__(self, dev: Dev, source: str = "127.0.0.1", seconds: float = 60) -> None:
        self._socket = socket.create_connection(("127.0.0.1", dev.smtp), seconds, source_address=(source, 0))
        self._file = self._socket.makefile("rb")
        self.greeting = self.read()
        self("EHLO client.test")

    def __call__(self, line: str) -> str:
        self._socket.sendall(line.encode() + b"\r\n")
        return self.read()

    def read(self) -> str:
        lines: list[str] = []
        while True:
            line = self._file.readline().decode()
            if not line.endswith("\r\n"):
                raise AssertionError(f"the session ended after {lines}")
            lines.append(line[:-2])
            if line[3:4] == " ":
                return "\n".join(lines)

    def mail(self, sender: str, *text: bytes, to: str = "user0@demo.test") -> tuple[str, str]:
        """Where the transaction ended, and by which answer."""
        for word, line in (("mail", f"MAIL FROM:<{sender}>"), ("rcpt", f"RCPT TO:<{to}>"), ("data", "DATA")):
            said = self(line)
            if said[0] not in "23":
                self("RSET")
                return word, said
        for piece in text:
            self._socket.sendall(piece)
        self._socket.sendall(b".\r\n")
        return "text", self.read()

    def close(self) -> None:
        assert self("QUIT").startswith("221")
        assert self._file.read() == b""  # no answer came that was not asked for
        self._socket.close()


def figures(dev: Dev, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The figures of a metric by the values of these labels; sums over the others."""
    found: dict[tuple[str, ...], float] = {}
    family = scrape.gather(dev.folder / "run" / scrape.FOLDER).read().get(name)
    for key, figure in family.values.items() if family else ():
        values = tuple(dict(key)[label] for label in labels)
        found[values] = found.get(values, 0.0) + figure[0]
    return found


def worker(dev: Dev) -> int:
    """The process id of the only worker, once it has shown itself."""
    end = time.monotonic() + 10
    while not (paths := list((dev.folder / "run" / scrape.FOLDER).glob("smtpd-0.[0-9]*"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    (path,) = paths
    return int(path.suffix[1:])


def mailbox(dev: Dev, wanted: int = 0, seconds: float = 20) -> list[bytes]:
    """The mails of user0, once there are so many."""
    folder = dev.folder / "vmail" / "demo.test" / "user0" / "Maildir" / "new"
    end = time.monotonic() + seconds
    while len(paths := list(folder.glob("*"))) < wanted and time.monotonic() < end:
        time.sleep(0.05)
    return [path.read_bytes() for path in paths]
