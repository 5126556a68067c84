"""The header of RFC 7208 section 9.1."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest

from postane.filters.auth.spf import Checked, Client, check_host
from postane.filters.auth.spf_received import received_spf
from postane.filters.auth.spf_record import Result
from support.zone import Zone

ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*"
PAIR = rf'[a-z-]+=(?:{ATOM}|"(?:[^"\\\r\n]|\\[ -~])*")'
HEADER = re.compile(rf"[a-z]+ \([^()\\\r\n]*\)(?:\r\n\t{PAIR}(?:;(?=\r\n\t))?)+")


def header(zone: str, ip: str = "192.0.2.3", helo: str = "h.example", mail_from: str = "a@x.example") -> str:
    client = Client(ip_address(ip), helo, mail_from, "mx.receiver.example")
    return received_spf(Zone(zone).decide(check_host(client)), client)


def test_whole() -> None:
    assert header("x.example TXT v=spf1 ip4:192.0.2.0/24 -all") == (
        "pass (mx.receiver.example: domain of x.example allows 192.0.2.3)\r\n"
        "\tidentity=mailfrom;\r\n"
        "\tclient-ip=192.0.2.3;\r\n"
        '\tenvelope-from="a@x.example";\r\n'
        "\thelo=h.example;\r\n"
        "\treceiver=mx.receiver.example;\r\n"
        '\tmechanism="ip4:192.0.2.0/24"'
    )


def test_null_sender_and_ipv6() -> None:
    found = header("h.example TXT v=spf1 moo", "::ffff:192.0.2.3", mail_from="")
    assert "identity=helo;" in found
    assert "client-ip=192.0.2.3;" in found
    assert 'envelope-from="";' in found
    assert found.endswith("\tproblem=\"the SPF record of h.example: 'moo': there is no such mechanism\"")
    assert 'client-ip="2001:db8::3";' in header("", "2001:db8::3")


@pytest.mark.parametrize("result", list(Result))
def test_every_result_has_its_words(result: Result) -> None:
    client = Client(ip_address("fe80::1%eth0"), "h.example", "a@x.example", "mx.receiver.example")
    assert HEADER.fullmatch(received_spf(Checked(result, "x.example"), client))


@pytest.mark.parametrize(
    "nasty", ['"; result=pass; x="', "a\r\nX-Evil: 1", "a\\", "a)b(c", "ü@x", "\x00\x85", "a" * 900]
)
def test_what_a_peer_says_cannot_break_it(nasty: str) -> None:
    found = header("", helo=nasty, mail_from=f"{nasty}@x.example")
    assert HEADER.fullmatch(found)
    checked = Checked(Result.PERMERROR, nasty, nasty, nasty, nasty)
    assert HEADER.fullmatch(received_spf(checked, Client(ip_address("::1"), nasty, nasty, nasty)))
    assert max(map(len, found.split("\r\n"))) < 998
