"""All filters that ask the DNS, at the door of a real service: a real name server hears each question once a mail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.rcode
import pytest

from postane.config.model import Dns
from postane.dns.shared import shared
from postane.filters.base import Tools
from postane.filters.builtin.authentication import Authentication
from postane.filters.builtin.authentication import Options as AuthenticationOptions
from postane.filters.builtin.helo import HeloName
from postane.filters.builtin.helo import Options as HeloOptions
from postane.filters.builtin.iprev import Iprev
from postane.filters.builtin.iprev import Options as IprevOptions
from postane.filters.builtin.spf import Options as SpfOptions
from postane.filters.builtin.spf import Spf
from support.dns import NameServer, name_server
from support.signing import MESSAGE, record, rsa_key, sign
from support.wire import Line, Wire


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[NameServer, Wire]]:
    with name_server() as (server, address):
        server.ttl = 0  # whatever the server says of the life of its answers
        settings = Dns(nameservers=(address,), timeout=0.6)
        tools = Tools("mx.test", settings, time.time, shared(settings))
        filters = (
            Iprev(IprevOptions(trusted_peers=()), tools),
            HeloName(HeloOptions(trusted_peers=()), tools),
            Spf(SpfOptions(trusted_peers=()), tools),
            Authentication(AuthenticationOptions(trusted_peers=(), on_temperror="mark"), tools),
        )
        wire = Wire(tmp_path, filters=filters)
        yield server, wire
        wire.close()


def sent(wire: Wire, message: bytes, helo: str = "mail.example.org") -> tuple[str, float]:
    """The message as it was kept, and the seconds that it took."""
    line = Line(wire, hello=False, source="127.0.8.1")
    begun = time.monotonic()
    for command in (f"EHLO {helo}", "MAIL FROM:<ayse@example.org>", "RCPT TO:<ayse@demo.test>", "DATA"):
        assert line(command)[0] in "23"
    line.send(message + b".\r\n")
    assert line.read().startswith("250")
    took = time.monotonic() - begun
    line.close()
    (kept,) = wire.mail()
    return kept.read().decode(), took


def test_each_question_is_asked_once(served: tuple[NameServer, Wire]) -> None:
    server, wire = served
    server.add("1.8.0.127.in-addr.arpa", "PTR", "mail.example.org.")
    server.add("mail.example.org", "A", "127.0.8.1")
    server.add("example.org", "TXT", '"v=spf1 a mx ptr include:far.example a:mail.example.org -all"')
    server.add("example.org", "A", "192.0.2.1")
    server.add("example.org", "MX", "10 mx.example.org.")
    server.add("mx.example.org", "A", "192.0.2.2")
    key = record(rsa_key())
    server.add("rsa._domainkey.example.org", "TXT", f'"{key[:200]}" "{key[200:]}"')
    server.add("_dmarc.example.org", "TXT", '"v=DMARC1; p=reject"')
    text, _ = sent(wire, sign(MESSAGE))
    assert "Received-SPF: pass" in text
    assert "dkim=pass" in text
    assert "dmarc=pass" in text
    assert "iprev=pass" in text
    asked = Counter(server.questions)
    assert {("1.8.0.127.in-addr.arpa", "PTR"), ("mail.example.org", "A"), ("example.org", "TXT")} <= set(asked)
    assert {question: count for question, count in asked.items() if count > 1} == {}
    # The next mail of the same sender asks nothing.
    sent(wire, sign(MESSAGE))
    assert Counter(server.questions) == asked


def test_a_silent_name_is_waited_for_once(served: tuple[NameServer, Wire]) -> None:
    """The reverse zone is for iprev, SPF and authentication, the sender's for SPF and authentication."""
    server, wire = served
    server.faults |= {"1.8.0.127.in-addr.arpa": None, "example.org": None, "mail.example.org": dns.rcode.SERVFAIL}
    server.add("_dmarc.example.org", "TXT", '"v=DMARC1; p=none"')
    text, took = sent(wire, MESSAGE)
    assert "Received-SPF: temperror" in text
    assert "iprev=temperror" in text
    assert took < 1.2  # one time-out: the one of iprev runs before the peer says anything
    retries = Counter(server.questions)
    sent(wire, MESSAGE)
    assert Counter(server.questions) == retries
