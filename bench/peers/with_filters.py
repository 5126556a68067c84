"""Both with all checks: Postane with every built-in filter that judges mail, and Postfix (tuned) with what Debian has
for the same: restrictions of its own, Rspamd as milter (which asks ClamAV), policyd-spf and Postgrey as policies.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from msgspec.structs import fields

from bench import load, packages
from bench.load import Load
from bench.peer import Skip, free_port
from bench.peers.checks import DNS, DOMAIN_LIST, LISTS, Services
from bench.peers.postane import Postane
from bench.peers.postfix import MAILBOX_OWNER, Postfix
from bench.peers.rspamd import OWNER
from postane.filters.registry import BUILTIN, filter_class

MANY = 1_000_000_000  # a limit that is counted towards and never met: all connections come from one /24
# They do not judge mail that comes from outside: a copy of each, and a text for what our own users send.
LEFT_OUT = ("journal", "disclaimer")


def filters(services: Services) -> dict[str, Any]:
    """The section `filters` of Postane's configuration."""
    names = sorted(set(BUILTIN) - set(LEFT_OUT))
    options: dict[str, dict[str, Any]] = {}
    for name in names:  # a peer on loopback is judged like any other
        known = {field.name for field in fields(filter_class(name).options_type)}
        options[name] = {"trusted_peers": []} if "trusted_peers" in known else {}
    lists = [{"zone": zone, "inside": True, "listed": "127.9.9.2"} for zone in LISTS]
    options["dnsbl"]["lists"] = [*lists, {"zone": DOMAIN_LIST, "of": "sender_domain"}]
    limits = [{"counts": "connections", "rate": MANY}, {"counts": "messages", "rate": MANY}]
    options["rates"] |= {"peer": limits, "net": limits[:1], "sender": [{"counts": "recipients", "rate": MANY}]}
    # What other filters here do is not done twice.
    others = ["spf", "dkim", "dmarc", "arc", "rbl"]
    options["rspamd"] |= {"url": str(services.rspamd.http), "timeout": 30, "leave_out": others}
    options["clamav"] |= {"address": str(services.clamd.socket), "timeout": 30}
    return {"filters": {"use": names, "options": {name: given for name, given in options.items() if given}}}


class PostaneFilters(Postane):
    """Mail that a filter cannot judge is deferred, as is the default."""

    def __init__(self, folder: Path, store: Path) -> None:
        super().__init__(folder, filters="builtin", name_server=f"{DNS}:53")
        self.name = "postane-filters"
        self._services = Services(folder, store, scans_viruses=False)

    def start(self) -> None:
        self._services.start()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.filters_file = self.folder / "filters.yml"
        self.filters_file.write_text(yaml.safe_dump(filters(self._services)))
        super().start()
        self.version = f"{version('postane')} with Rspamd {self._services.rspamd.version}"

    def remove(self) -> None:
        self._services.stop()
        super().remove()


# What Postfix asks itself, and whom it asks.
CHECKS = {
    "smtpd_peername_lookup": "yes",
    "smtpd_helo_required": "yes",
    "smtpd_client_connection_count_limit": "10000",
    "smtpd_client_connection_rate_limit": str(MANY),
    "smtpd_client_message_rate_limit": str(MANY),
    "smtpd_client_recipient_rate_limit": str(MANY),
    "smtpd_client_event_limit_exceptions": "",
    "mime_header_checks": "regexp:{etc}/attachments",
    "smtpd_helo_restrictions": "reject_invalid_helo_hostname reject_non_fqdn_helo_hostname "
    "reject_unknown_helo_hostname",
    "smtpd_sender_restrictions": f"reject_unknown_sender_domain reject_rhsbl_sender {DOMAIN_LIST}",
    "smtpd_recipient_restrictions": "reject_unauth_destination reject_unknown_client_hostname "
    + " ".join(f"reject_rbl_client {zone}" for zone in LISTS)
    + " check_policy_service unix:private/policyd-spf check_policy_service inet:127.0.0.1:{postgrey}",
    "policyd-spf_time_limit": "3600",
    "milter_default_action": "tempfail",
    "milter_protocol": "6",
}
_TYPES = "ade|bat|chm|cmd|com|cpl|exe|hta|jar|js|jse|lnk|msi|pif|ps1|scr|vbe|vbs|wsf"
ATTACHMENTS = rf"/name\s*=\s*\"?[^\"]*\.({_TYPES})\"?\s*$/ REJECT"
POLICYD = "policyd-spf unix - n n - 0 spawn user={owner} argv=/usr/bin/env PYTHONPATH={modules} {program} {settings}\n"
POLICYD_SETTINGS = """\
debugLevel = 0
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = False
skip_addresses = 192.0.2.0/24
"""
GREYLISTED = 1.5  # seconds after which a new try passes, and some


class PostfixFilters(Postfix):
    """Mail that Rspamd cannot judge is deferred here too."""

    def __init__(self, folder: Path, store: Path) -> None:
        super().__init__(folder, store, tuned=True)
        self.name = "postfix-filters"
        self._services = Services(folder, store, scans_viruses=True)
        self._postgrey: subprocess.Popen[bytes] | None = None
        self._port = free_port()

    def start(self) -> None:
        self._services.start()
        etc = self.folder / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "attachments").write_text(f"{ATTACHMENTS}\n")
        (etc / "policyd-spf.conf").write_text(POLICYD_SETTINGS)
        self.resolver = etc / "resolv.conf"
        self.resolver.write_text(f"nameserver {DNS}\n")
        root = packages.unpacked("postfix-policyd-spf-python", self._store)
        self.services = POLICYD.format(
            owner=MAILBOX_OWNER,
            modules=root / "usr/lib/python3/dist-packages",
            program=f"/usr/bin/python3 {root}/usr/bin/policyd-spf",
            settings=etc / "policyd-spf.conf",
        )
        given = {"etc": etc, "postgrey": self._port}
        self._settings = self._settings | {key: value.format(**given) for key, value in CHECKS.items()}
        self._settings["smtpd_milters"] = f"unix:{self._services.rspamd.milter}"
        self._start_postgrey()
        super().start()
        self.version += f" with Rspamd {self._services.rspamd.version}"
        # Whoever is new has to come again: the load is to meet a Postgrey that knows its senders.
        for _ in range(2):
            load.send(Load("warm", 4096, 10, connections=5), self.hold(), messages=100)
            time.sleep(GREYLISTED)
        if load.send(Load("warm", 4096, 10, connections=5), self.hold(), messages=20)["errors"]:
            raise Skip(f"Postfix takes no mail with all checks: {self.last_words()}")
        self.discard()

    def _start_postgrey(self) -> None:
        root = packages.unpacked("postgrey", self._store)
        folder = self.folder / "postgrey"
        folder.mkdir(exist_ok=True)
        owner = pwd.getpwnam(OWNER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        modules = [f"-I{path}" for path in (root / "usr/share/perl5", *root.glob("usr/lib/*/perl5/*"))]
        # Under -T, which its first line asks for, PERL5LIB would not be looked at.
        command = [
            "perl",
            "-T",
            *modules,
            str(root / "usr/sbin/postgrey"),
            f"--inet=127.0.0.1:{self._port}",
            f"--dbdir={folder}",
        ]
        command += [f"--user={OWNER}", f"--group={OWNER}", "--delay=1", f"--pidfile={folder}/pid"]
        command += [f"--whitelist-clients={folder}/clients", f"--whitelist-recipients={folder}/recipients"]
        for name in ("clients", "recipients"):
            (folder / name).touch()
        with (self.folder / "postgrey.log").open("wb") as out:
            self._postgrey = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + 10
        while self._postgrey.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 5):
                return
            time.sleep(0.1)
        raise Skip(f"Postgrey did not start: {(self.folder / 'postgrey.log').read_text()[-300:]}")

    def remove(self) -> None:
        if self._postgrey is not None:
            self._postgrey.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._postgrey.wait(10)
            self._postgrey.kill()
            self._postgrey.wait()
            self._postgrey = None
        self._services.stop()
        shutil.rmtree(self.folder.with_name(f"{self.folder.name}.clamd"), ignore_errors=True)
        super().remove()
