"""Chains sealed by dkimpy, then broken in one place each."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from postane.filters.auth.arc import Chain, verify
from postane.filters.auth.message import read
from support.signing import MESSAGE, NOW, SILENT, Zone, record, rsa_key, sealed, sealing_zone

SEALERS = ("a.example", "b.example", "c.example")


def chain(message: bytes, at: Zone | None = None) -> Chain:
    return asyncio.run(verify(read([message]), (at or sealing_zone(*SEALERS)).ask, lambda: NOW))


@pytest.fixture(scope="module")
def three() -> bytes:
    message = MESSAGE
    for domain in SEALERS:
        message = sealed(message, domain)
    return message


def test_a_message_without_sets_has_no_chain() -> None:
    assert chain(MESSAGE) == Chain(chain(MESSAGE).cv)
    assert (chain(MESSAGE).cv, chain(MESSAGE).instances) == ("none", 0)


def test_a_whole_chain_passes_with_crlf_and_with_lf(three: bytes) -> None:
    at = sealing_zone(*SEALERS)
    found = chain(three, at)
    assert (found.cv, found.instances, found.reason) == ("pass", 3, "")
    assert found.sealers == SEALERS
    assert found.oldest_pass == 0
    assert [one.strip().partition(b";")[0] for one in found.results] == [
        b"mx.a.example",
        b"mx.b.example",
        b"mx.c.example",
    ]
    assert sorted(at.asked) == sorted(f"arc._domainkey.{domain}" for domain in SEALERS)
    assert chain(three.replace(b"\r\n", b"\n")) == Chain(found.cv, 3, "", SEALERS, 0, found.results)


def test_a_change_on_the_way_is_seen_as_the_oldest_that_still_holds() -> None:
    changed = sealed(MESSAGE, "a.example").replace(b"last line", b"last line\r\n-- \r\nthe list")
    message = sealed(sealed(changed, "b.example"), "c.example")
    found = chain(message)
    assert (found.cv, found.oldest_pass) == ("pass", 2)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (rb"last line", b"lost line", "ARC-Message-Signature: body hash did not verify"),
        (rb"Subject: folded", b"Subject: x", "ARC-Message-Signature: signature did not verify"),
        (rb"i=3; mx.c.example;\r\n spf=pass", b"i=3; mx.c.example;\r\n spf=fail", "seal 3 did not verify"),
        (rb"i=2; mx.b.example;\r\n spf=pass", b"i=2; mx.b.example;\r\n spf=fail", "seal 3 did not verify"),
        (rb"i=1; mx.a.example;\r\n spf=pass", b"i=1; mx.a.example;\r\n spf=fail", "seal 3 did not verify"),
        (rb"ARC-Seal: i=3; cv=pass", b"ARC-Seal: i=3; cv=fail", "says cv=fail"),
        (rb"ARC-Seal: i=2; cv=pass", b"ARC-Seal: i=2; cv=none", "seal 2 says cv=none"),
        (rb"ARC-Seal: i=1; cv=none", b"ARC-Seal: i=1; cv=pass", "seal 1 says cv=pass"),
        (rb"ARC-Seal: i=3; cv=pass", b"ARC-Seal: i=3; cv=Maybe", "seal 3 says cv=maybe"),
        (rb"ARC-Seal: i=3; cv=pass;", b"ARC-Seal: i=3;", "seal 3: no cv="),
        (rb"ARC-Seal: i=3; cv=pass;", b"ARC-Seal: i=3; cv=pass; h=from;", "seal 3: h= and bh="),
        (rb"ARC-Seal: i=3; cv=pass; a=rsa-sha256", b"ARC-Seal: i=3; cv=pass; a=rsa-sha1", "seal 3: rsa-sha1"),
        (rb"ARC-Seal: i=3; cv=pass; a", b"ARC-Seal: i=3; cv=pass; cv", "without an i="),
        (rb"ARC-Seal: i=3;", b"ARC-Seal: i=4;", "4 instances|instance 3 has no|the highest is 4"),
        (rb"ARC-Seal: i=3;", b"ARC-Seal: i=51;", "without an i= from 1 to 50"),
        (rb"ARC-Seal: i=3;", b"ARC-Seal: i=0;", "without an i="),
        (rb"ARC-Seal: i=3;", b"ARC-Seal: i=2;", "two arc-seal of instance 2"),
        (rb"ARC-Message-Signature: i=3;", b"X-Gone: i=3;", "instance 3 has no arc-message-signature"),
        (rb"ARC-Authentication-Results: i=2;", b"X-Gone: i=2;", "instance 2 has no arc-authentication-results"),
        (rb"ARC-Authentication-Results: i=2;", b"ARC-Authentication-Results: x; i=2;", "without an i="),
        (rb"h=from : to : subject : date", b"h=from : arc-seal", "signs ARC-Seal"),
        (rb"h=from : to : subject : date", b"h=to : subject : date", "From field not signed"),
        (rb"d=c.example;\r\n s=arc", b"d=c.example;\r\n l=3; s=arc", "body hash|l=|syntax"),
    ],
)
def test_each_fault_breaks_the_chain(three: bytes, old: bytes, new: bytes, reason: str) -> None:
    changed = re.sub(old, lambda _: new, three, count=1)
    assert changed != three
    found = chain(changed)
    assert (found.cv, bool(re.search(reason, found.reason))) == ("fail", True), found.reason
    assert not found.sealers


def test_the_first_seal_counts_too(three: bytes) -> None:
    one = sealed(MESSAGE, "a.example")
    assert chain(one).cv == "pass"
    assert chain(one.replace(b"spf=pass", b"spf=fail")).reason == "seal 1 did not verify"
    at = sealing_zone(*SEALERS)
    at.records["arc._domainkey.a.example"] = [record(rsa_key(1024))]
    assert chain(three, at).reason == "seal 1 did not verify"


@pytest.mark.parametrize("start", [b" (by us) i = 1 (one);", b"\r\n\ti=1;", b" i=01;", b"i=1;"])
def test_the_instance_of_results_is_read_with_comments_and_folds(start: bytes) -> None:
    # RFC 8617 section 4.1.1: instance = [CFWS] "i" [CFWS] "=" [CFWS] 1*2DIGIT [CFWS] ";"
    changed = sealed(MESSAGE, "a.example").replace(b"Results: i=1;", b"Results:" + start)
    found = chain(changed)
    assert (found.instances, found.reason) in (
        (1, ""),
        (1, "seal 1 did not verify"),
    )  # a comment is not what was sealed


@pytest.mark.parametrize("start", [b" I=1;", b" i=1", b" (i=1;", b" i=1 2;", b" 1=i;"])
def test_and_no_other_form_of_it(start: bytes) -> None:
    changed = sealed(MESSAGE, "a.example").replace(b"Results: i=1;", b"Results:" + start)
    assert "without an i=" in chain(changed).reason


def test_a_gap_breaks_the_chain(three: bytes) -> None:
    gone = re.sub(rb"(?m)^ARC-[A-Za-z-]+: i=2;.*\r\n(?:[ \t].*\r\n)*", b"", three)
    assert chain(gone).reason == "2 instances, the highest is 3"


def test_a_sealer_that_saw_a_broken_chain_says_so() -> None:
    broken = sealed(MESSAGE, "a.example").replace(b"last line", b"lost line")
    assert chain(sealed(broken, "b.example", cv="fail")).reason == "the newest seal, of b.example, says cv=fail"


def test_a_second_from_breaks_the_chain(three: bytes) -> None:
    assert "2 from fields" in chain(three.replace(b"\r\nFrom:", b"\r\nFrom: boss@example.org\r\nFrom:")).reason


def test_a_key_that_cannot_be_asked_for_now_is_told_apart(three: bytes) -> None:
    at = sealing_zone(*SEALERS)
    at.records["arc._domainkey.b.example"] = SILENT
    found = chain(three, at)
    assert (found.cv, found.temporary) == ("fail", True)
    assert "no answer" in found.reason
    del at.records["arc._domainkey.b.example"]
    found = chain(three, at)
    assert (found.cv, found.temporary, found.reason) == ("fail", False, "seal 2: no key for the signature")
    at.records["arc._domainkey.b.example"] = [record(rsa_key(1024))]
    assert chain(three, at).reason == "seal 2 did not verify"


def test_fifty_sets_are_a_chain_and_fifty_one_are_none() -> None:
    message = MESSAGE
    for _ in range(50):
        message = sealed(message, "a.example")
    began = time.process_time()
    found = chain(message)
    assert (found.cv, found.instances) == ("pass", 50)
    assert time.process_time() - began < 2
    assert found.oldest_pass == 40  # no more than ten older signatures are looked at
    more = message.replace(b"ARC-Seal: i=50;", b"ARC-Seal: i=51;").replace(b"ature: i=50;", b"ature: i=51;")
    assert chain(more).cv == "fail"


@pytest.mark.parametrize(
    "field", [b"ARC-Seal: \0\r\n", b"ARC-Seal: i=1\r\n", b"ARC-Message-Signature\r\n", b"ARC-Seal:\r\n"]
)
def test_rubbish_is_an_answer_too(field: bytes) -> None:
    found = chain(field + MESSAGE)
    assert found.cv == ("none" if b":" not in field else "fail")
