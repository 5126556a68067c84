"""What we write, authres reads back; what claims to be ours is found in whatever dress."""

from __future__ import annotations

import time

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.auth import results
from postane.filters.auth.arc import Chain
from postane.filters.auth.dkim import Signed
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc import Evaluation
from postane.filters.auth.dmarc_record import parse
from postane.filters.auth.message import split
from postane.filters.auth.results import Method, blanked, compose, is_ours, says_dmarc_pass, without_ours


def read_back(value: str) -> authres.AuthenticationResultsHeader:
    return authres.AuthenticationResultsHeader.parse("Authentication-Results: " + value.replace("\r\n", ""))


def test_all_results_stand_in_one_header() -> None:
    signed = [
        Signed("example.org", "sel", Result.PASS, "", "ab/+cd=="),
        Signed("example.net", "x", Result.FAIL, "body hash did not verify", "1234"),
    ]
    evaluation = Evaluation(Result.PASS, "example.org", policy="reject", record=parse("v=DMARC1; p=reject"))
    value = compose(
        "mx.example.com",
        [
            results.spf("pass", mail_from="bounce@example.org", helo="mail.example.org"),
            *results.dkim(signed),
            results.arc(Chain(Result.PASS, 2, "", ("a.example", "b.example"), 2)),
            results.dmarc(evaluation),
        ],
    )
    assert value.split("\r\n\t") == [
        "mx.example.com;",
        "spf=pass smtp.mailfrom=bounce@example.org;",
        'dkim=pass header.d=example.org header.s=sel header.b="ab/+cd==";',
        'dkim=fail reason="body hash did not verify" header.d=example.net',
        "header.s=x header.b=1234;",
        "arc=pass (b.example) header.oldest-pass=2;",
        "dmarc=pass header.from=example.org policy.dmarc=reject",
    ]
    found = read_back(value)
    assert found.authserv_id == "mx.example.com"
    assert [(one.method, one.result) for one in found.results] == [
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dkim", "fail"),
        ("arc", "pass"),
        ("dmarc", "pass"),
    ]


def test_nothing_checked_and_nothing_found() -> None:
    assert compose("mx.example.com", []) == "mx.example.com;\r\n\tnone"
    assert compose("mx", results.dkim([])) == "mx;\r\n\tdkim=none (no signature)"
    assert (
        compose("mx", [results.spf("none", mail_from="", helo="h.example")]) == "mx;\r\n\tspf=none smtp.helo=h.example"
    )
    assert compose("mx", [results.arc(Chain(Result.NONE))]) == "mx;\r\n\tarc=none"
    assert compose("mx", [results.dmarc(Evaluation(Result.PERMERROR, reason="no From field"))]) == (
        'mx;\r\n\tdmarc=permerror reason="no From field"'
    )


def test_a_comment_stays_a_comment() -> None:
    value = compose("mx", [Method("arc", "fail", comment="x) ; dkim=pass (\\\r\n")])
    assert value == "mx;\r\n\tarc=fail (x  ; dkim=pass    )"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_what_a_peer_says_never_leaves_its_place(value: str, reason: str, comment: str) -> None:
    text = compose("mx", [Method("spf", "fail", [("smtp.mailfrom", value)], reason, comment), Method("dkim", "none")])
    assert text.replace("\r\n\t", " ").isprintable() or not any(ord(c) < 32 for c in text.replace("\r\n\t", ""))
    # Quotations and comments taken out, nothing is left that could be a result of its own.
    bare = []
    quoted = depth = False
    skip = False
    for mark in text:
        if skip:
            skip = False
        elif mark == "\\" and quoted:
            skip = True
        elif mark == '"' and not depth:
            quoted = not quoted
        elif mark in "()" and not quoted:
            depth = mark == "("
        elif not quoted and not depth:
            bare.append(mark)
    assert not quoted
    assert not depth
    assert "".join(bare).count(";") == 2


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.com; dkim=pass",
        b"mx.example.com;none",
        b" MX.Example.COM; dkim=pass",
        b" mx.example.com 1; dkim=pass",
        b"\r\n\tmx.example.com;\r\n\tdkim=pass",
        b' "mx.example.com"; dkim=pass',
        b' "mx\\.example.com"; dkim=pass',
        b" (a (nested; comment)) mx.example.com (c); dkim=pass",
        b" mx.example.com(c); dkim=pass",
        b" mx.example.com.; dkim=pass",
        b" =?utf-8?q?mx.example.com?=; dkim=pass",
        b" =?us-ascii?B?bXguZXhhbXBsZS5jb20=?= ; dkim=pass",
        " ｍｘ.example.com; dkim=pass".encode(),
        " mx.exa\u200bmple.com; dkim=pass".encode(),
        b" mx.example.com",
        b' "mx.example.com; dkim=pass',  # cannot be read, and names us
        b" (never ends mx.example.com; dkim=pass",
        b' mx."example.com"; x=mx.example.com',
    ],
)
def test_a_header_under_our_name_is_ours(value: bytes) -> None:
    (field,) = split(b"Authentication-Results:" + value)
    assert is_ours(field, "mx.example.com")
    (field,) = split(b"AUTHENTICATION-RESULTS :" + value)
    assert is_ours(field, "mx.example.com")


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.net; dkim=pass",
        b" a.mx.example.com; dkim=pass",
        b" mx.example.com.net; dkim=pass",
        b" other; dkim=pass header.d=mx.example.com",
        b" (mx.example.com) other; dkim=pass",
        b"",
    ],
)
def test_a_header_of_another_stays(value: bytes) -> None:
    (field,) = split(b"Authentication-Results:" + value)
    assert not is_ours(field, "mx.example.com")


def test_many_odd_names_cost_little() -> None:
    head = (
        b"Authentication-Results: =?utf-8?q?a?= =?utf-8?q?b?=; x\r\nAuthentication-Results: \xef\xbd\x8d; x\r\n"
        * 10_000
    )
    began = time.process_time()
    assert len(blanked(head[:-2], "mx.example.com")) == 10_000
    assert time.process_time() - began < 2


def test_only_ours_are_taken_out_and_all_of_them() -> None:
    fields = split(
        b"Authentication-Results: mx.example.com; dkim=pass\r\n"
        b"Received: x\r\n"
        b"Authentication-Results: mx.example.net; dkim=pass\r\n"
        b"ARC-Authentication-Results: i=1; mx.example.com; dkim=pass\r\n"
        b"Authentication-Results: mx.example.com;\r\n dmarc=pass\r\n"
        b"X: Authentication-Results: mx.example.com"
    )
    assert [field.name for field in without_ours(fields, "mx.example.com")] == [
        b"received",
        b"authentication-results",
        b"arc-authentication-results",
        b"x",
    ]


def test_a_claim_is_made_unreadable_where_it_stands() -> None:
    head = (
        b"Received: x\r\n"
        b"Authentication-Results: mx.example.com;\r\n\tdmarc=pass (ok)\r\n"
        b"Authentication-Results: mx.example.net; dkim=pass\r\n"
        b"AUTHENTICATION-results : mx.example.com; none\r\n"
        b"Subject: Authentication-Results: mx.example.com"
    )
    text = bytearray(head)
    for at, octets in blanked(head, "mx.example.com"):
        text[at : at + len(octets)] = octets
    assert text.split(b"\r\n") == [
        b"Received: x",
        b"X-Authentication-Claim: ...............",
        b"\t.......... ....",
        b"Authentication-Results: mx.example.net; dkim=pass",
        b"X-Authentication-Claim : ............... ....",
        b"Subject: Authentication-Results: mx.example.com",
    ]
    assert blanked(b"Received: x\r\nSubject: y", "mx.example.com") == []


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (b" mx.list.example; dmarc=pass header.from=example.org", True),
        (
            b" mx.list.example;\r\n spf=pass;\r\n\tdmarc=pass (p=NONE) a=b header.from=Example.org;\r\n d=x",
            True,
        ),
        (b" mx.list.example; dmarc=pass header.from=example.net", False),
        (b" mx.list.example; dmarc=pass header.from=example.org.evil.net", False),
        (b" mx.list.example; dmarc=pass", False),
        (b" mx.list.example; dmarc=fail header.from=example.org", False),
        (b" mx.list.example; dmarc=passed header.from=example.org", False),
        (b' mx.list.example; x="; dmarc=pass header.from=example.org "', False),
        (b' mx.list.example; x="\\"; dmarc=pass header.from=example.org "', False),
        (b" mx.list.example; (; dmarc=pass header.from=example.org )", False),
        (b" mx.list.example; (a (b); dmarc=pass header.from=example.org )", False),
        (b" dmarc=pass header.from=example.org", False),
        (b"", False),
    ],
)
def test_what_another_says_of_dmarc_is_read_strictly(value: bytes, passed: bool) -> None:
    assert says_dmarc_pass(value, "example.org") is passed
