"""Acceptance runs against `postane dev`: real mail by its doors, records from a name server, a signed document."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import smtplib
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosmtpd.controller
import msgspec
import pytest
import yaml
from msgspec.structs import replace

from postane.admin import account, alias, domain_accept, mailboxes
from postane.admin.domain_accept import Accepted, Wishes
from postane.admin.domain_facts import known
from postane.admin.site import Site
from postane.config.model import Clients, Dns
from postane.core.errors import ConflictError
from postane.domains.desired import desired
from support.dev import POSTANE, Dev, free_port
from support.dns import NameServer, name_server

D, HOST = "demo.test", "mail.demo.test"
ACCOUNT = f"postane-acceptance@{D}"
PORTS_OF_NOBODY = dict.fromkeys((80, 443, 143, 110), 9)

Checks = dict[str, dict[str, Any]]


class World:
    """`postane dev`, and a name server that has what the plan of its domain wants."""

    def __init__(self, folder: Path, dns: NameServer, address: str) -> None:
        self.dns = dns
        self.dev = Dev(folder / "dev", workers=1, more=[f"--nameserver={address}"])
        self.dev.start()
        self.config = replace(
            Site.at(self.dev.folder / "postane.yml").config,
            dns=Dns(nameservers=(address,), addresses=("127.0.0.1",), timeout=3.0),
            # Of people's services only the one that `postane dev` has a door for.
            clients=Clients(services=("submission",), webmail="-"),
        )
        self.site = Site(self.config)
        (facts,) = known(self.site, [D])
        for one in desired(facts.facts):
            if not one.told:
                dns.add(one.record.name, one.record.type, one.record.data)

    def run(self, **wishes: Any) -> tuple[Accepted, Checks]:
        told: list[str] = []
        ports = {**PORTS_OF_NOBODY, 25: self.dev.smtp, 587: self.dev.submission}
        wanted = Wishes(**{"each": 25.0, "total": 40.0, "ports": ports, **wishes})
        done = domain_accept.run(self.site, D, wanted, lambda one: told.append(one.name))
        checks = {one["name"]: one for one in done.document["checks"]}
        assert sorted(told) == sorted(checks)
        assert self.left() == []
        return done, checks

    def left(self) -> list[str]:
        """What a run has made and not removed."""
        names = [one.address for one in account.every(self.site, D)]
        names += [one.address for one in alias.every(self.site, D)]
        names += [one.path for one in mailboxes.every_left(self.site)]
        return [name for name in names if "acceptance" in name]

    @contextmanager
    def records(self, changed: dict[tuple[str, str], list[str]]) -> Iterator[None]:
        """With these in place of those that stand."""
        before = dict(self.dns.records)
        self.dns.records.update(changed)
        yield
        self.dns.records.clear()
        self.dns.records.update(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with name_server() as (dns, address):
        made = World(tmp_path_factory.mktemp("acceptance"), dns, address)
        yield made
        made.dev.close()


def reasons(checks: Checks, verdict: str) -> dict[str, str]:
    return {name: one["reason"]["key"] for name, one in checks.items() if one["verdict"] == verdict}


# What `postane dev` has not: an API, a certificate that anybody trusts.
FAILED = {
    "tls.mx": "untrusted",
    "tls.submission": "untrusted",
    "tls.settings": "no_connection",
    "tls.mta_sts": "no_connection",
    "told.autoconfig": "no_connection",
    "told.autodiscover": "no_connection",
    "told.mobileconfig": "no_connection",
}
PASSED = {
    *("mail.in", "mail.alias", "mail.submission", "mail.signed", "mail.aligned", "mail.bounce", "mail.unknown"),
    *("mail.relay", "mail.sender", "name.mx", "name.spf", "name.dmarc", "told.srv"),
}


def test_mail_goes_in_and_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    password = "k7-" + "x" * 30
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: password)
    done, checks = world.run()
    assert set(reasons(checks, "pass")) == PASSED
    assert reasons(checks, "fail") == FAILED
    assert not done.passed

    said = checks["mail.in"]["evidence"]
    assert f"C: RCPT TO:<{ACCOUNT}>" in said
    assert "S: 250 2.1.5 Recipient OK" in said
    assert any(line.startswith("Authentication-Results: ") for line in said)
    assert any(line.startswith("TLSv1.") for line in said)
    assert "Status: 5.1.2" in checks["mail.bounce"]["evidence"]
    assert any(line.startswith("S: 550 5.1.1") for line in checks["mail.unknown"]["evidence"])
    assert any(line.startswith("S: 553 5.7.1") for line in checks["mail.sender"]["evidence"])
    assert any(line.endswith(": pass") for line in checks["mail.signed"]["evidence"])
    assert "dkim aligned: True" in checks["mail.aligned"]["evidence"][0]

    whole = json.dumps(done.document)
    assert password not in whole
    assert "AUTH PLAIN …" in json.dumps(done.document, ensure_ascii=False)

    assert domain_accept.verify(world.site, done.folder / "certificate.json").good
    assert domain_accept.last(world.site, D) == done


def test_records_that_are_not_as_they_should_be(world: World) -> None:
    empty = {one: ['"v=DKIM1; k=rsa; p="'] for one in world.dns.records if "._domainkey." in one[0]}
    assert len(empty) == 2
    with world.records(
        {
            **empty,
            (D, "TXT"): ['"v=spf1 ip4:192.0.2.1 -all"'],
            (f"_dmarc.{D}", "TXT"): ['"v=DMARC1; p=none"'],
            (f"_25._tcp.{HOST}", "TLSA"): ["3 1 1 " + "00" * 32],
            (D, "MX"): [f"10 {HOST}.", "20 mx.elsewhere.test."],
            (f"_imaps._tcp.{D}", "SRV"): [f"0 1 993 {HOST}."],
            (f"_mta-sts.{D}", "TXT"): ['"v=STSv1; id=1"', '"v=STSv1; id=2"'],
        }
    ):
        _, checks = world.run()
    # None of it keeps mail from coming.
    assert set(reasons(checks, "pass")) == PASSED - {"mail.signed", "mail.aligned", "name.mx", "name.spf", "told.srv"}
    assert reasons(checks, "fail") == FAILED | {
        "mail.signed": "bad_signature",
        "mail.aligned": "not_aligned",
        "name.mx": "mx_elsewhere",
        "name.spf": "spf",
        "tls.dane": "tlsa_differs",
        "tls.mta_sts": "two_records",
        "told.srv": "differs",
    }


def test_a_domain_without_an_mx(world: World) -> None:
    """What hangs on it fails, and nothing else."""
    with world.records({(D, "MX"): []}):
        del world.dns.records[D, "MX"]
        _, checks = world.run()
    # Its SPF says mx; of a domain without one the address is asked for, and this one has none.
    assert reasons(checks, "fail") == FAILED | {"mail.in": "no_address", "name.mx": "no_record", "name.spf": "spf"}
    assert set(reasons(checks, "pass")) == PASSED - {"mail.in", "name.mx", "name.spf"}


class Relay(aiosmtpd.controller.Controller):
    """A server outside that sends on what it is given."""

    def __init__(self, to: int) -> None:
        self._to = to
        super().__init__(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        def send() -> None:
            with smtplib.SMTP("127.0.0.1", self._to, timeout=10) as door:
                door.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)

        await asyncio.to_thread(send)
        return "250 2.0.0 passed on"


def answer(world: World, done: threading.Event) -> None:
    """Whoever writes to user1 is answered, from outside."""
    while not done.wait(0.1):
        for path in world.dev.folder.glob(f"vmail/{D}/user1/Maildir/new/*"):
            asked = path.read_bytes().decode()
            path.unlink()
            subject = next(line for line in asked.splitlines() if line.startswith("Subject: "))
            text = f"From: echo@far.test\r\nTo: {ACCOUNT}\r\nSubject: Re: {subject[9:]}\r\n\r\nhere you are\r\n"
            with smtplib.SMTP("127.0.0.1", world.dev.smtp, timeout=10) as door:
                door.sendmail("echo@far.test", [ACCOUNT], text)


def test_by_a_server_outside_and_to_the_world_and_back(world: World) -> None:
    relay, done = Relay(world.dev.smtp), threading.Event()
    thread = threading.Thread(target=answer, args=(world, done), daemon=True)
    relay.start()
    thread.start()
    try:
        _, checks = world.run(peer=f"127.0.0.1:{relay.port}", echo=f"user1@{D}")
    finally:
        done.set()
        thread.join(10)
        relay.stop()
    assert {"mail.peer", "mail.echo"} <= reasons(checks, "pass").keys()
    assert "S: 250 2.0.0 passed on" in checks["mail.peer"]["evidence"]
    assert "From: echo@far.test" in checks["mail.echo"]["evidence"]
    # What comes back may be a bounce.
    _, checks = world.run(echo="nobody@acceptance.invalid")
    assert checks["mail.echo"]["reason"]["key"] == "bounced"


def test_dane_by_a_resolver_that_checks_signatures(world: World) -> None:
    world.dns.authentic = True
    try:
        _, checks = world.run()
    finally:
        world.dns.authentic = False
    assert checks["tls.dane"]["verdict"] == "pass"


def test_what_a_killed_run_left_and_what_is_somebodys(world: World) -> None:
    with pytest.raises(ConflictError, match="somebody's account"):
        world.run(local="user0")
    alias.put(world.site, f"office-alias@{D}", [f"user0@{D}"])
    with pytest.raises(ConflictError, match="somebody's alias"):
        world.run(local="office")
    alias.put(world.site, f"*@{D}", [f"user0@{D}"])
    account.add(world.site, ACCOUNT, "of a killed run", display_name=domain_accept.MADE)
    try:
        _, checks = world.run()
    finally:
        alias.remove(world.site, f"*@{D}")
        alias.remove(world.site, f"office-alias@{D}")
    assert checks["mail.unknown"]["reason"]["key"] == "catch_all"
    assert {"mail.in", "mail.submission"} <= reasons(checks, "pass").keys()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_run_leaves_nothing(world: World, number: signal.Signals) -> None:
    file = world.dev.folder / "accept.yml"
    plain = msgspec.to_builtins(world.config)
    plain["delivery"]["smtp_port"] = world.dev.smtp
    file.write_text(yaml.safe_dump(plain))
    world.dns.faults[f"_dmarc.{D}"] = None  # so that it takes its time
    process = subprocess.Popen(
        [str(POSTANE), "--config", str(file), "domain", "accept", D],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 20
        while not any(one.address == ACCOUNT for one in account.every(world.site, D)):
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(1.0)  # the account comes first, then the checks
        process.send_signal(number)
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()
        del world.dns.faults[f"_dmarc.{D}"]
    assert (process.returncode, out) == (75, "")
    assert "what it had made is removed" in err
    assert "Traceback" not in err
    assert world.left() == []
