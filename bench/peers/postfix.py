"""Postfix, as Debian ships it and tuned for the workloads: what differs is SHIPPED and TUNED below, word by word.

It runs from the unpacked package under `master` with queue, data and configuration in a folder of its own.
No user is made: existing accounts of the system stand in for `postfix` and `postdrop`.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from bench import packages
from bench.peer import HOSTS, MAILBOXES, Peer, Skip, free_port

# Everything a Debian main.cf says beyond paths and names. Chroot is off in both (no other effect on loopback).
SHIPPED = {
    "compatibility_level": "3.6",
    "biff": "no",
    "append_dot_mydomain": "no",
    "mailbox_size_limit": "0",
    "recipient_delimiter": "+",
}

# What a postmaster may turn for speed without giving up durability, recipient checks or the log.
TUNED = SHIPPED | {
    "default_process_limit": "200",
    "in_flow_delay": "0",  # no brake where mail comes in faster than it is delivered
    "max_use": "100000",  # processes are not renewed after 100 clients
    "max_idle": "300s",
    "smtpd_peername_lookup": "no",  # no reverse lookup of the client
    "smtpd_client_connection_count_limit": "0",  # with the rates at 0 (default), anvil is not asked
    "smtpd_client_restrictions": "",
    "smtpd_relay_restrictions": "reject_unauth_destination",
    "local_header_rewrite_clients": "",
    "receive_override_options": "no_address_mappings",
    "qmgr_message_active_limit": "100000",
    "virtual_destination_concurrency_limit": "40",
    "initial_destination_concurrency": "40",
    "virtual_destination_recipient_limit": "1",
    "smtpd_tls_security_level": "none",
}

MASTER = """\
127.0.0.1:{port} inet n - n - {smtpd} smtpd
127.0.0.1:{held} inet n - n - {smtpd} smtpd
  -o smtpd_data_restrictions=check_client_access,static:HOLD
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       {virtual} virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

# In a mount namespace of its own, where the clients' addresses have names; it ends with master.
START = 'mount --bind "$0" /etc/hosts && { [ -z "$2" ] || mount --bind "$2" /etc/resolv.conf; } && exec "$1" -d'

OWNED = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")
OWNER, GROUP, MAILBOX_OWNER = "daemon", "games", "nobody"


class Postfix(Peer):
    """`tuned` chooses between the two sets of settings."""

    def __init__(self, folder: Path, store: Path, *, tuned: bool) -> None:
        super().__init__(folder)
        self.name = "postfix-tuned" if tuned else "postfix"
        self._settings = TUNED if tuned else SHIPPED
        self._tuned = tuned
        self._held_port = free_port()
        self._store = store
        # Beside its folder, so that its own queue does not make its mailboxes dear either (see peer.apart).
        self._vmail = folder.with_name(f"{folder.name}.vmail")
        self.services = ""  # further lines of master.cf
        self.resolver: Path | None = None  # a resolv.conf of its own

    def start(self) -> None:
        if os.geteuid() != 0:
            raise Skip("Postfix's master must be started by root")
        self._root = packages.unpacked("postfix", self._store)
        self.version = packages.version(self._root, "postfix")
        self._make_folders()
        self._configure()
        self._environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": packages.library_path(self._root),
            "MAIL_CONFIG": str(self.folder / "etc"),
        }
        (self.folder / "hosts").write_text(HOSTS)
        master = str(self._root / "usr/lib/postfix/sbin/master")
        self.spawn(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", START, str(self.folder / "hosts"), master]
            + ([str(self.resolver)] if self.resolver else []),
            env=self._environment,
        )
        self.wait_for_port()

    def _make_folders(self) -> None:
        owner, group = pwd.getpwnam(OWNER), grp.getgrnam(GROUP)
        queue = self.folder / "queue"
        for name in (*OWNED, "pid", "public", "maildrop"):
            (queue / name).mkdir(parents=True, exist_ok=True)
            (queue / name).chmod(0o700)
        for name in OWNED:
            os.chown(queue / name, owner.pw_uid, -1)
        (queue / "pid").chmod(0o755)
        for name, mode in (("public", 0o2710), ("maildrop", 0o1730)):
            os.chown(queue / name, owner.pw_uid, group.gr_gid)
            (queue / name).chmod(mode)
        (self.folder / "data").mkdir(exist_ok=True)
        os.chown(self.folder / "data", owner.pw_uid, -1)
        (self.folder / "etc").mkdir(exist_ok=True)
        mailbox_owner = pwd.getpwnam(MAILBOX_OWNER)
        for path in (self._vmail, *(self._vmail / name for name in self.domain_names)):
            path.mkdir(exist_ok=True)
            os.chown(path, mailbox_owner.pw_uid, mailbox_owner.pw_gid)
        # The mailboxes' owner must be able to walk here.
        for parent in (self.folder, *self.folder.parents):
            if not parent.stat().st_mode & 0o001:
                raise Skip(f"{parent} is closed to other users: choose another work folder")

    def _configure(self) -> None:
        mailbox_owner = pwd.getpwnam(MAILBOX_OWNER)
        etc, libexec = self.folder / "etc", self._root / "usr/lib/postfix"
        names = {
            "config_directory": etc,
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "daemon_directory": libexec / "sbin",
            "shlib_directory": libexec,
            "command_directory": self._root / "usr/sbin",
            "meta_directory": etc,
            "import_environment": f"MAIL_CONFIG LANG=C LD_LIBRARY_PATH={packages.library_path(self._root)}",
            "mail_owner": OWNER,
            "setgid_group": GROUP,
            "default_privs": MAILBOX_OWNER,
            "myhostname": "mail.demo.test",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "maillog_file": self.folder / "mail.log",
            "maillog_file_prefixes": self.folder,
            # Text that is read into memory: nothing quicker to look up, and no database library to be had.
            "virtual_mailbox_domains": f"texthash:{etc}/domains",
            "virtual_mailbox_maps": f"texthash:{etc}/mailboxes",
            "virtual_mailbox_base": self._vmail,
            "virtual_uid_maps": f"static:{mailbox_owner.pw_uid}",
            "virtual_gid_maps": f"static:{mailbox_owner.pw_gid}",
            "virtual_minimum_uid": "1",
        }
        settings = names | self._settings
        (etc / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (etc / "master.cf").write_text(
            MASTER.format(
                port=self.port,
                held=self._held_port,
                smtpd="60" if self._tuned else "-",
                virtual="20" if self._tuned else "-",
            )
            + self.services
        )
        (etc / "dynamicmaps.cf").write_text("")
        (etc / "domains").write_text("".join(f"{name} x\n" for name in self.domain_names))
        (etc / "mailboxes").write_text(
            "".join(f"u{box}@{name} {name}/u{box}/\n" for name in self.domain_names for box in range(MAILBOXES))
        )

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._root / "usr/sbin" / program), "-c", str(self.folder / "etc"), *words],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Skip(f"{program}: {done.stderr.strip()[-300:]}")

    def hold(self) -> int:
        """HOLD at a port of its own: cleanup writes the file into the hold queue, the queue manager never sees it."""
        return self._held_port

    def discard(self) -> None:
        self._run("postsuper", "-d", "ALL", "hold")

    def mailboxes(self) -> list[Path]:
        root = self._vmail
        return [root / name / f"u{box}" / "new" for name in self.domain_names for box in range(MAILBOXES)]

    def remove(self) -> None:
        super().remove()
        shutil.rmtree(self._vmail, ignore_errors=True)
