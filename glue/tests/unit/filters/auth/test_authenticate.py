"""Whole messages: what each method finds, and that no slow answer is waited for twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.core.question import Answer, Question
from postane.filters.auth.authenticate import Authentication, authenticate
from postane.filters.auth.message import read
from postane.filters.auth.spf import Client
from support.signing import MESSAGE, NOW, Zone, record, rsa_key, sealed, sign

RECORDS = {
    "example.org": ["v=spf1 ip4:192.0.2.1 -all"],
    "bounces.example.org": ["v=spf1 ip4:192.0.2.1 -all"],
    "helo.example.org": ["v=spf1 ip4:192.0.2.1 -all"],
    "rsa._domainkey.example.org": [record(rsa_key())],
    "arc._domainkey.list.example": [record(rsa_key())],
    "_dmarc.example.org": ["v=DMARC1; p=reject"],
}


def authenticated(
    message: bytes,
    mail_from: str = "a@bounces.example.org",
    ip: str = "192.0.2.1",
    records: Mapping[str, Sequence[str]] = RECORDS,
) -> Authentication:
    client = Client(ip_address(ip), "helo.example.org", mail_from, now=NOW)
    return asyncio.run(authenticate(read([message]), client, Zone(records).ask, 5))


def test_all_methods_speak_of_one_message() -> None:
    found = authenticated(sealed(sign(MESSAGE), "list.example"))
    assert (found.spf.result, [one.result for one in found.dkim], found.arc.cv) == ("pass", ["pass"], "pass")
    assert (found.dmarc.result, found.dmarc.spf_aligned, found.dmarc.dkim_aligned) == ("pass", True, True)


def test_dmarc_stands_on_either_and_falls_with_both() -> None:
    found = authenticated(sign(MESSAGE), ip="198.51.100.1")
    assert (found.spf.result, found.dmarc.result, found.dmarc.spf_aligned) == ("fail", "pass", False)
    changed = sign(MESSAGE).replace(b"Hello", b"Hullo")
    found = authenticated(changed)
    assert (found.dmarc.result, found.dmarc.spf_aligned, found.dmarc.dkim_aligned) == ("pass", True, False)
    found = authenticated(changed, ip="198.51.100.1")
    assert (found.dmarc.result, found.dmarc.disposition) == ("fail", "reject")
    found = authenticated(sign(MESSAGE, limit=3) + b"more", ip="198.51.100.1")
    assert (found.dkim[0].result, found.dmarc.result) == ("policy", "fail")


def test_the_null_sender_is_checked_by_its_helo_name() -> None:
    found = authenticated(MESSAGE, mail_from="")
    assert (found.spf.domain, found.spf.result, found.dmarc.spf_aligned) == ("helo.example.org", "pass", True)


@pytest.mark.parametrize(
    "field",
    [b"", b"From: a@example.org, b@example.org\r\n", b"From: a@example.org\r\nFrom: a@example.org\r\n", b"From: x\r\n"],
)
def test_without_one_clear_author_dmarc_is_permerror(field: bytes) -> None:
    found = authenticated(MESSAGE.replace(b"From: Ayse <ayse@example.org>\r\n", field)).dmarc
    assert (found.result, found.domain, found.disposition) == ("permerror", "", "none")
    assert found.reason


WHOLE = sealed(sealed(sign(MESSAGE), "list.example"), "list.example")
PIECES = st.sampled_from(
    [b"", b"\0", b"\r", b"\n", b";", b"=", b":", b"\xff", b"(", b'"', b"<", b"@", b"9" * 20, b"i=1;"]
)
CHANGE = st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 40), PIECES)


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGE, min_size=1, max_size=5))
def test_whatever_is_changed_there_is_an_answer(changes: list[tuple[int, int, bytes]]) -> None:
    message = bytearray(WHOLE)
    for at, length, octets in changes:
        message[at : at + length] = octets
    found = authenticated(bytes(message))
    assert len(found.dkim) <= 10
    assert found.dmarc.disposition == "none" or found.dmarc.result == "fail"


def test_silence_is_waited_for_once() -> None:
    async def silence(question: Question) -> Answer:
        await asyncio.sleep(10)
        return Answer()

    client = Client(ip_address("192.0.2.1"), "helo.example.org", "a@example.org", now=NOW)
    message = read([sealed(sign(MESSAGE), "list.example")])
    began = time.monotonic()
    found = asyncio.run(authenticate(message, client, silence, 0.2))
    assert time.monotonic() - began < 5
    assert (found.spf.result, found.dkim[0].result, found.dmarc.result) == ("temperror", "temperror", "temperror")
    assert (found.arc.cv, found.arc.temporary) == ("fail", True)
