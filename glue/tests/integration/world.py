"""The world that customers come from, as the scenario `onboarding` makes it: their name server, their registrar, their
old mail host, and a sender outside who goes on sending whatever happens.

Customers act for themselves here: what stands in their zones beside Postane's records is put in by their own hands.
"""

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.xfr
import dns.zone

from . import clients
from .machines import Machine, Site, until

SECRETS = Path(__file__).parents[3] / ".cache" / "molecule" / "passwords"
OLD_HOST = "mail.old.test"
STREAM = "/var/lib/stream"
SENDER = "stream@far.test"
SIGNING = {"SOA", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY"}
MAILBOXES = ("INBOX", "Junk")


@dataclass(frozen=True)
class Keeper:
    """A customer's zone at their DNS provider, changed with their own key (RFC 2136)."""

    domain: str
    address: str

    @property
    def _ring(self) -> dict[dns.name.Name, dns.tsig.Key]:
        name = dns.name.from_text(self.domain.split(".")[0])
        secret = (SECRETS / f"{self.domain}.tsig").read_text().strip()
        return {name: dns.tsig.Key(name, secret.encode(), "hmac-sha256")}

    def records(self) -> set[str]:
        """All but what signing makes: `name TTL type data`, names in full."""
        zone = dns.zone.Zone(dns.name.from_text(self.domain), relativize=False)
        query, _ = dns.xfr.make_query(zone, keyring=self._ring)
        dns.query.inbound_xfr(self.address, zone, query, timeout=10, lifetime=10)
        found = set()
        for name, ttl, rdata in zone.iterate_rdatas():
            kind = dns.rdatatype.to_text(rdata.rdtype)
            if kind not in SIGNING:
                found.add(f"{name.to_text(omit_final_dot=True)} {ttl} {kind} {rdata.to_text()}")
        return found

    def at(self, name: str, kind: str) -> list[str]:
        """The data of the records of a name, with its dots at the end."""
        lines = (line.split(" ", 3) for line in self.records())
        return sorted(data for owner, _, found, data in lines if (owner, found) == (name, kind))

    def put(self, *lines: str) -> None:
        """Adds records, as `records` gives them."""
        self._change(add=lines)

    def drop(self, *lines: str) -> None:
        self._change(drop=lines)

    def swap(self, name: str, kind: str, *data: str, ttl: int = 10) -> None:
        """These in place of all of that name and type, in one change."""
        drop = [line for line in self.records() if (line.split(" ")[0], line.split(" ")[2]) == (name, kind)]
        self._change(add=[f"{name} {ttl} {kind} {one}" for one in data], drop=drop)

    def reset(self, lines: Iterable[str]) -> None:
        """Makes the zone have these and its name server, and nothing else."""
        wanted = set(lines)
        there = {line for line in self.records() if " NS " not in line}
        self._change(add=sorted(wanted - there), drop=sorted(there - wanted))

    def _change(self, add: Sequence[str] = (), drop: Sequence[str] = ()) -> None:
        if not add and not drop:
            return
        update = dns.update.UpdateMessage(self.domain, keyring=self._ring)
        for line in drop:
            name, _, kind, data = line.split(" ", 3)
            update.delete(dns.name.from_text(name), kind, data)
        for line in add:
            name, ttl, kind, data = line.split(" ", 3)
            update.add(dns.name.from_text(name), int(ttl), kind, data)
        answer = dns.query.tcp(update, self.address, timeout=10)
        assert answer.rcode() == dns.rcode.NOERROR, f"{self.domain}: {dns.rcode.to_text(answer.rcode())}"


@dataclass(frozen=True)
class Registrar:
    """Who is asked about a domain, as its owner has it registered."""

    net: Machine

    def delegate(self, domain: str, *servers: str) -> None:
        """To no server: it has expired."""
        words = [f"knotc zone-begin {_parent(domain)}", f"knotc zone-unset {_parent(domain)} {domain}. NS || true"]
        words += [f"knotc zone-set {_parent(domain)} {domain}. 10 NS {server}." for server in servers]
        self.net.run("; ".join([*words, f"knotc zone-commit {_parent(domain)}"]))


def _parent(domain: str) -> str:
    return f"{domain.partition('.')[2]}."


@dataclass(frozen=True)
class OldHost:
    """The mail host where customers are before they come: a Maildir for each address."""

    machine: Machine

    def has(self, address: str, token: str) -> bool:
        folder = self._folder(address)
        return bool(self.machine.run(f"grep -rlF {shlex.quote(token)} {folder} 2>/dev/null | head -1"))

    def numbers(self, domain: str) -> list[int]:
        """Of the stream's mails, in all mailboxes of a domain, each as often as it is there."""
        said = self.machine.run(f"grep -rh '^X-Stream: ' /var/mail/old/{domain} 2>/dev/null || true")
        return sorted(int(line.split()[1]) for line in said.splitlines())

    def clear(self, domain: str) -> None:
        self.machine.run(f"rm -rf /var/mail/old/{domain}")

    def _folder(self, address: str) -> str:
        name, _, domain = address.partition("@")
        return f"/var/mail/old/{domain}/{name}"


@dataclass(frozen=True)
class Stream:
    """Mail from outside, a numbered one every second to each domain, by the MX as the sender's resolver knows it."""

    net: Machine

    def start(self, names: Sequence[str], domains: Sequence[str]) -> None:
        self.net.run(
            "systemctl stop stream 2>/dev/null; postsuper -d ALL >/dev/null 2>&1; "
            f"rm -rf {STREAM} /home/stream/Maildir; mkdir -p {STREAM} && "
            + shlex.join(
                ["systemd-run", "--quiet", "--collect", "--unit=stream", "stream", STREAM, ",".join(names), *domains]
            )
        )

    def stop(self) -> None:
        self.net.run(f"touch {STREAM}/stop")
        until(lambda: "inactive" in self.net.run("systemctl is-active stream || true"), "the end of the stream")

    def sent(self, domain: str) -> list[int]:
        lines = self.net.run(f"cat {STREAM}/sent").splitlines()
        return [int(number) for number, address in map(str.split, lines) if address.endswith(f"@{domain}")]

    def now(self, domain: str) -> int:
        """The number of the last mail."""
        return max(self.sent(domain), default=0)

    def waiting(self) -> str:
        """What has not gone out yet; "" for nothing."""
        said = self.net.run("postqueue -j")
        return "\n".join(line for line in said.splitlines() if SENDER in line)

    def returned(self) -> str:
        """Bounces, and warnings of delay."""
        return self.net.run("cat /home/stream/Maildir/new/* 2>/dev/null || true")


@dataclass
class Customer:
    """A domain, where it is going to, and what it brings."""

    domain: str
    site: Site
    keeper: Keeper
    target: str
    records: frozenset[str] = frozenset()
    passwords: dict[str, str] = field(default_factory=dict)

    def address(self, name: str) -> str:
        return f"{name}@{self.domain}"

    def postane(self, *words: str) -> tuple[int, Any]:
        """A verb at the customer's platform: exit code, and its JSON or what it complained of."""
        code, out, said = self.site.tell(shlex.join(["postane", *words, "--json"]))
        return code, json.loads(out) if out.strip() else said

    def do(self, *words: str) -> Any:
        """A verb that must succeed."""
        code, said = self.postane(*words)
        assert code == 0, f"postane {shlex.join(words)}: {code}: {said}"
        return said

    def state(self) -> str:
        return str(self.do("domain", "show", self.domain)["state"])

    def advance(self, to: str, *words: str, seconds: float = 90) -> None:
        """Asks for the next step until it is made; what holds it is told if it never is."""
        end = time.monotonic() + seconds
        while True:
            _, said = self.postane("domain", "advance", self.domain, *words)
            if isinstance(said, dict) and said["item"]["state"] == to:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{self.domain} is not {to} within {seconds:.0f} s: {said}")
            time.sleep(1)

    def account(self, name: str) -> None:
        address = self.address(name)
        self.passwords[address] = self.do("account", "add", address, "--generate")["password"]

    def numbers(self) -> list[int]:
        """Of the stream's mails, in all mailboxes here, each as often as it is there."""
        found: list[int] = []
        for address, password in self.passwords.items():
            for mailbox in MAILBOXES:
                try:
                    mails = clients.imap_messages(self.site.host, address, password, mailbox=mailbox)
                except LookupError:
                    continue
                found += [int(mail["X-Stream"]) for mail in mails if mail["X-Stream"]]
        return sorted(found)


def twice(numbers: Iterable[int]) -> list[int]:
    return [number for number, count in Counter(numbers).items() if count > 1]
