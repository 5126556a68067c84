"""OpenSMTPD as Debian ships it, with one domain delivered to Maildir.

Its paths and its two users are compiled in, so it runs in a root of its own: the unpacked package, an /etc with those
users, and the machine's libraries bound in, inside a private mount namespace that ends with it. Nothing of the machine
is altered.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench import packages
from bench.peer import HOSTS, MAILBOXES, Peer, Skip

CONF = """\
table domains file:/etc/mail-domains
listen on 127.0.0.1 port {port}
action "in" maildir "/vmail/%{{dest.domain}}/%{{user.username}}"
match from any for domain <domains> action "in"
"""

# One shell: bind what the package needs of the machine, then become smtpd in the new root.
START = """\
set -e
cd "$1"
for folder in usr/lib usr/bin lib64 dev proc; do
  if [ -d "/$folder" ]; then mount --rbind "/$folder" "$folder"; fi
done
exec env LD_LIBRARY_PATH=/package-lib chroot . /usr/sbin/smtpd -d
"""


class OpenSmtpd(Peer):
    def __init__(self, folder: Path, store: Path) -> None:
        super().__init__(folder)
        self.name = "opensmtpd"
        self._store = store
        self._root = self.folder / "root"

    def start(self) -> None:
        if os.geteuid() != 0:
            raise Skip("OpenSMTPD must be started by root")
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            raise Skip("unshare and nsenter (util-linux) are missing")
        unpacked = packages.unpacked("opensmtpd", self._store)
        self.version = packages.version(unpacked, "opensmtpd")
        if not self._root.exists():
            self._make_root(unpacked)
        self._make_folders()
        self.spawn(["unshare", "--mount", "--propagation", "private", "sh", "-c", START, "sh", str(self._root)])
        self.wait_for_port()

    def _make_root(self, unpacked: Path) -> None:
        root = self._root
        for name in ("usr/lib", "usr/bin", "lib64", "dev", "proc", "etc", "var/run", "var/mail", "tmp", "package-lib"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name, to in (("bin", "usr/bin"), ("lib", "usr/lib")):
            if not (root / name).is_symlink():
                (root / name).symlink_to(to)
        for name in ("usr/sbin", "usr/libexec"):
            shutil.copytree(unpacked / name, root / name, dirs_exist_ok=True, symlinks=True)
        for folder in packages.library_path(unpacked).split(os.pathsep):
            if folder:
                shutil.copytree(folder, root / "package-lib", dirs_exist_ok=True, symlinks=True)
        people = ["root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/:/bin/sh"]
        people += ["opensmtpd:x:991:991::/var/lib/opensmtpd/empty:/bin/false", "opensmtpq:x:992:992::/:/bin/false"]
        people += [
            f"u{box}:x:{2000 + box}:2000::/vmail/{self.domain_names[0]}/u{box}:/bin/sh" for box in range(MAILBOXES)
        ]
        files = {
            "passwd": "".join(f"{line}\n" for line in people),
            "group": "root:x:0:\nnogroup:x:65534:\nopensmtpd:x:991:\nopensmtpq:x:992:\nmailboxes:x:2000:\n",
            "shells": "/bin/sh\n",
            "hosts": HOSTS,
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
            "resolv.conf": "",
            "mailname": "mail.demo.test\n",
            "mail-domains": "".join(f"{name}\n" for name in self.domain_names),
            "smtpd.conf": CONF.format(port=self.port),
        }
        for name, text in files.items():
            (root / "etc" / name).write_text(text)
        (root / "etc/smtpd.conf").chmod(0o600)
        os.chown(root / "usr/sbin/smtpctl", 0, 992)  # it asks for the group of the package's installation
        (root / "usr/sbin/smtpctl").chmod(0o2755)
        (root / "var/lib/opensmtpd/empty").mkdir(parents=True, exist_ok=True)

    def _make_folders(self) -> None:
        """Queue and mailboxes, empty, with the owners and modes that smtpd insists on."""
        root = self._root
        spool = root / "var/spool/smtpd"
        spool.mkdir(parents=True, exist_ok=True)
        spool.chmod(0o711)
        for name, owner, group, mode in (
            ("corrupt", 992, 0, 0o700),
            ("incoming", 992, 0, 0o700),
            ("offline", 0, 992, 0o770),
            ("purge", 992, 0, 0o700),
            ("queue", 992, 0, 0o700),
            ("temporary", 992, 0, 0o700),
        ):
            (spool / name).mkdir(exist_ok=True)
            os.chown(spool / name, owner, group)
            (spool / name).chmod(mode)
        for name in self.domain_names:
            for box in range(MAILBOXES):
                path = root / "vmail" / name / f"u{box}"
                path.mkdir(parents=True, exist_ok=True)
                os.chown(path, 2000 + box, 2000)

    def _control(self, *words: str) -> None:
        pid = self.process.pid
        inside = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", f"--root=/proc/{pid}/root"]
        done = subprocess.run(
            [*inside, "/usr/sbin/smtpctl", *words],
            env={"LD_LIBRARY_PATH": "/package-lib", "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Skip(f"smtpctl {' '.join(words)}: {done.stderr.strip()[-200:]}")

    def hold(self) -> int:
        """`smtpctl pause mda`: local delivery waits."""
        self._control("pause", "mda")
        return self.port

    def discard(self) -> None:
        """A new process over an empty queue."""
        self.stop()
        for name in ("var/spool/smtpd", "vmail"):
            shutil.rmtree(self._root / name, ignore_errors=True)
        self.start()

    def mailboxes(self) -> list[Path]:
        return [
            self._root / "vmail" / name / f"u{box}" / "new" for name in self.domain_names for box in range(MAILBOXES)
        ]
