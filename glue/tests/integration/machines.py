"""The hosts of the site as the tests of molecule's scenarios reach them: by SSH, and as a mail program would.

POSTANE_SITE names the inventory with the hosts' places, which molecule/shared/create.yml writes.
The rest of the internet is mx.far.test, whose Postfix sends and receives for far.test.
"""

import email
import email.policy
import json
import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rdatatype

from . import clients

INVENTORY = os.environ.get("POSTANE_SITE", "")
NAMES = ("mail.d12.test", "mail.d13.test")
FRIEND = "friend@far.test"


@dataclass(frozen=True)
class Machine:
    """A host of the site, by SSH."""

    name: str
    ipv4: str
    ipv6: str
    ssh: tuple[str, ...]

    def run(self, command: str, text: bytes = b"") -> str:
        code, out, said = self.tell(command, text)
        if code:
            raise AssertionError(f"{self.name}: {command}: {code}: {said}")
        return out

    def tell(self, command: str, text: bytes = b"") -> tuple[int, str, str]:
        """Exit code, output and errors."""
        done = subprocess.run([*self.ssh, command], input=text, capture_output=True, check=False, timeout=120)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


@dataclass(frozen=True)
class Site(Machine):
    """A mail host with its domain and the passwords of its accounts."""

    host: clients.Host
    passwords: dict[str, str]

    @property
    def domain(self) -> str:
        return self.name.removeprefix("mail.")

    @property
    def ayse(self) -> str:
        return f"ayse@{self.domain}"

    @property
    def mehmet(self) -> str:
        return f"mehmet@{self.domain}"

    def wait(self, address: str, subject: str, seconds: float = 60) -> EmailMessage:
        return clients.imap_wait(self.host, address, self.passwords[address], subject, seconds=seconds)

    def submit(self, sender: str, mail: EmailMessage, to: str) -> None:
        clients.submit(self.host, sender, self.passwords[sender], mail, [to])

    def account(self, local_part: str, *options: str) -> str:
        """A new account; its password is kept like the others'."""
        address = f"{local_part}-{uuid.uuid4().hex[:8]}@{self.domain}"
        answer = json.loads(
            self.run(shlex.join(["postane", "account", "add", address, "--generate", "--json", *options]))
        )
        self.passwords[address] = answer["password"]
        return address

    def ask(self, name: str, kind: str) -> list[str]:
        """What the host's own name server answers, as text; the answer must be authoritative."""
        query = dns.message.make_query(name, kind, want_dnssec=True)
        answer = dns.query.tcp(query, self.ipv4, timeout=5)
        assert answer.flags & 0x0400, f"{name} {kind}: no authoritative answer: {answer}"
        found = [rdata for rrset in answer.answer for rdata in rrset]
        if kind == "TXT":
            return [b"".join(rdata.strings).decode() for rdata in found if rdata.rdtype == dns.rdatatype.TXT]
        return [rdata.to_text() for rdata in found]

    def queued(self, recipient: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.run(f"postane queue list --recipient {recipient} --json"))
        return listed


def places() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(Path(INVENTORY).read_text())["all"]["hosts"]
    return found


def machine(name: str) -> Machine:
    place = places()[name]
    ssh = [
        "ssh",
        *shlex.split(place["ansible_ssh_common_args"]),
        "-o",
        "BatchMode=yes",
        "-p",
        str(place["ansible_port"]),
    ]
    ssh += ["-i", place["ansible_ssh_private_key_file"], f"{place['ansible_user']}@{place['ansible_host']}"]
    return Machine(name, place["postane_public_ipv4"], place["postane_public_ipv6"], tuple(ssh))


def until(found: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.5)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


def from_outside(net: Machine, mail: EmailMessage, to: str) -> None:
    net.run(f"/usr/sbin/sendmail -f {FRIEND} {to}", mail.as_bytes(policy=email.policy.default))


def at_friend(net: Machine, token: str, seconds: float = 60) -> bytes:
    """The message in the mailbox at far.test that has the token anywhere in it, octet for octet as it came."""
    command = f"grep -rlF '{token}' /home/friend/Maildir/new 2>/dev/null | head -1 | xargs -r cat"
    text: str = until(lambda: net.run(command), f"{token} at {FRIEND}", seconds)
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
