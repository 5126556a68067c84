"""The name server of the benchmark: one answer to every question, and a well-formed one."""

from __future__ import annotations

import contextlib
import socket

import dns.resolver
import pytest
from bench.name_server import NXDOMAIN, SERVFAIL, NameServer


@pytest.mark.parametrize("rcode", [SERVFAIL, NXDOMAIN])
def test_it_answers_with_its_code_to_the_question_it_was_asked(rcode: int) -> None:
    question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\1\3far\4test\0\0\x0f\0\1\0\0\x29\4\xd0\0\0\0\0\0\0"
    with (
        contextlib.closing(NameServer(rcode)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
    ):
        one.settimeout(5)
        one.sendto(question, ("127.0.0.1", server.port))
        answer = one.recv(512)
    flags = bytes((0x81, 0x80 | rcode))
    assert answer == b"\x12\x34" + flags + b"\0\1\0\0\0\0\0\0\3far\4test\0\0\x0f\0\1"


def test_what_it_has_records_of_is_answered_with_them() -> None:
    records = {("far.test", "A"): ["192.0.2.1", "192.0.2.2"], ("far.test", "TXT"): ["v=spf1 -all"]}
    records |= {("1.2.0.192.in-addr.arpa", "PTR"): ["far.test"], ("far.test", "MX"): ["mx.far.test"]}
    with contextlib.closing(NameServer(NXDOMAIN, records=records)) as server:
        ask = dns.resolver.Resolver(configure=False)
        ask.nameservers, ask.port = ["127.0.0.1"], server.port
        found = {kind: sorted(map(str, ask.resolve("FAR.test", kind))) for kind in ("A", "TXT", "MX")}
        assert found == {"A": ["192.0.2.1", "192.0.2.2"], "TXT": ['"v=spf1 -all"'], "MX": ["10 mx.far.test."]}
        assert str(ask.resolve("1.2.0.192.in-addr.arpa", "PTR")[0]) == "far.test."
        with pytest.raises(dns.resolver.NoAnswer):
            ask.resolve("far.test", "AAAA")
        with pytest.raises(dns.resolver.NXDOMAIN):
            ask.resolve("other.test", "A")


def test_its_port_is_free_when_it_is_closed() -> None:
    first = NameServer(NXDOMAIN)
    first.close()
    NameServer(NXDOMAIN, first.port).close()
