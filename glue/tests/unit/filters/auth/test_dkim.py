"""Signatures made by dkimpy, and by hand what dkimpy refuses to make; then changed in one place each."""

from __future__ import annotations

import asyncio
import base64
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from postane.filters.auth.dkim import Signed, verify
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.message import read
from support.signing import (
    MESSAGE,
    NOW,
    SILENT,
    Zone,
    by_dkimpy,
    ed25519_key,
    record,
    rsa_key,
    sign,
    zone,
)

SELECTORS = {"rsa": "rsa", "ed25519": "ed"}


def verified(message: bytes, at: Zone | None = None, now: float = NOW) -> list[Signed]:
    return asyncio.run(verify(read([message]), (at or zone()).ask, lambda: now))


def only(message: bytes, at: Zone | None = None, now: float = NOW) -> tuple[str, str]:
    (one,) = verified(message, at, now)
    return one.result, one.reason


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
@pytest.mark.parametrize("forms", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
def test_what_dkimpy_signs_passes_with_crlf_and_with_lf(kind: str, forms: str) -> None:
    message = by_dkimpy(MESSAGE, kind=kind, forms=forms)
    (one,) = verified(message, now=time.time())
    assert (one.domain, one.selector, one.result, one.reason) == ("example.org", SELECTORS[kind], "pass", "")
    assert verified(message.replace(b"\r\n", b"\n"), now=time.time()) == [one]


@pytest.mark.parametrize("forms", ["simple/simple", "relaxed/relaxed"])
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Hello", b"Hullo", "body hash did not verify"),
        (b"last line\r\n", b"last line\r\nmore\r\n", "body hash did not verify"),
        (b"Subject: folded", b"Subject: molded", "signature did not verify"),
        (b"From: Ayse", b"From: Eyse", "signature did not verify"),
        (b"To: mehmet@example.net\r\n", b"", "signature did not verify"),
        (b"s=rsa;", b"s=rsa; x=9999999999;", "signature did not verify"),
    ],
)
def test_what_was_changed_fails(forms: str, old: bytes, new: bytes, reason: str) -> None:
    message = by_dkimpy(MESSAGE, forms=forms)
    assert message.count(old) == 1
    assert only(message.replace(old, new), now=time.time()) == ("fail", reason)


def test_white_space_matters_in_the_simple_form_only() -> None:
    for forms, wanted in (("simple/simple", "fail"), ("relaxed/relaxed", "pass")):
        message = (
            by_dkimpy(MESSAGE, forms=forms).replace(b"subject  here ", b"subject here").replace(b"Hello \t", b"Hello ")
        )
        assert only(message, now=time.time())[0] == wanted


def test_a_second_header_that_is_not_signed_makes_it_policy() -> None:
    for field in (
        b"From: Boss <boss@example.org>\r\n",
        b"Subject: pay\r\n",
        b"Date: now\r\n",
        b"From : b@example.org\r\n",
    ):
        result, reason = only(sign(MESSAGE).replace(b"\r\nFrom:", b"\r\n" + field + b"From:", 1))
        assert (result, "1 of them signed" in reason) == ("policy", True), field
    # A subject that nobody signed is policy only if there are two.
    assert only(sign(MESSAGE, headers="from"))[0] == "pass"
    assert only(sign(b"Subject: a\r\n" + MESSAGE, headers="from"))[0] == "policy"
    assert only(sign(b"Date: a\r\n" + MESSAGE, headers="from"))[0] == "pass"


def test_an_oversigned_header_cannot_be_added() -> None:
    message = sign(MESSAGE, headers="from:from:subject:subject")
    assert only(message)[0] == "pass"
    assert only(message.replace(b"From:", b"From: boss@example.org\r\nFrom:", 1)) == (
        "fail",
        "signature did not verify",
    )
    both = sign(b"From: boss@example.org\r\n" + MESSAGE, headers="from:from:subject")
    assert only(both)[0] == "pass"  # two that are both signed are the signer's word; DMARC refuses them


def test_the_lowest_of_several_headers_is_signed_first() -> None:
    message = sign(b"X: 1\r\nX: 2\r\nX: 3\r\n" + MESSAGE, headers="from:x:x")
    assert only(message)[0] == "pass"
    assert only(message.replace(b"X: 1", b"X: 9"))[0] == "pass"
    assert only(message.replace(b"X: 2", b"X: 9"))[0] == "fail"


@pytest.mark.parametrize(
    ("limit", "result"), [(5, "policy"), (0, "policy"), (29, "pass"), (30, "fail"), (10**9, "fail")]
)
def test_l_is_good_only_if_it_leaves_nothing(limit: int, result: str) -> None:
    body = MESSAGE.partition(b"\r\n\r\n")[2].rstrip(b"\r\n") + b"\r\n"
    size = len(body)
    limit = {29: size, 30: size + 1}.get(limit, limit)
    assert only(sign(MESSAGE, limit=limit))[0] == result


def test_text_after_l_is_policy_and_text_before_it_is_fail() -> None:
    message = sign(MESSAGE, limit=5)
    assert only(message + b"<html>evil</html>\r\n") == ("policy", only(message + b"<html>evil</html>\r\n")[1])
    assert "l= leaves" in only(message + b"<html>evil</html>\r\n")[1]
    assert only(message.replace(b"Hello", b"Hullo")) == ("fail", "body hash did not verify")


def test_a_short_l_does_not_hide_a_bad_signature() -> None:
    assert only(sign(MESSAGE, limit=5).replace(b"Subject: folded", b"Subject: x"))[0] == "fail"


@pytest.mark.parametrize(
    ("changed", "result", "reason"),
    [
        ({"v": "2"}, "permerror", "incompatible version"),
        ({"v": None}, "permerror", "no v="),
        ({"d": None}, "permerror", "no d="),
        ({"h": None}, "permerror", "no h="),
        ({"bh": None}, "permerror", "no bh="),
        ({"a": "rsa-sha1"}, "permerror", "RFC 8301"),
        ({"a": "rsa-sha512"}, "permerror", "no algorithm"),
        ({"a": "ed25519-sha256"}, "permerror", "inappropriate key algorithm"),
        ({"h": "to:subject"}, "permerror", "From field not signed"),
        ({"i": "a@example.com"}, "permerror", "domain mismatch"),
        ({"i": "a@badexample.org"}, "permerror", "domain mismatch"),
        ({"i": "example.org"}, "permerror", "domain mismatch"),
        ({"i": "a@sub.example.org"}, "pass", ""),
        ({"i": "@EXAMPLE.org"}, "pass", ""),
        ({"d": "EXAMPLE.ORG."}, "pass", ""),
        ({"d": "no domain"}, "permerror", "no key"),
        ({"d": "ex@mple.org"}, "permerror", "d= is no domain name"),
        ({"s": "..", "d": "example.org"}, "permerror", "no domain name"),
        ({"q": "dns/txt:x"}, "pass", ""),
        ({"q": "http"}, "permerror", "q="),
        ({"c": "nofws"}, "neutral", "syntax"),
        ({"bh": "!!!!"}, "neutral", "syntax"),
        ({"l": "-1"}, "neutral", "syntax"),
        ({"t": "soon"}, "neutral", "syntax"),
        ({"t": str(int(NOW))}, "pass", ""),
        ({"t": str(int(NOW) + 200)}, "pass", ""),
        ({"t": str(int(NOW) + 3600)}, "permerror", "future"),
        ({"x": str(int(NOW) + 60)}, "pass", ""),
        ({"x": str(int(NOW) - 60)}, "permerror", "expired"),
        ({"t": str(int(NOW) - 5), "x": str(int(NOW) - 9)}, "permerror", "x= is not later"),
        ({"x": "9" * 70}, "pass", ""),
        ({"z": "From:a@b|To:c"}, "pass", ""),
    ],
)
def test_each_tag_is_judged(changed: dict[str, str | None], result: str, reason: str) -> None:
    found = only(sign(MESSAGE, **changed))  # type: ignore[arg-type]
    assert (found[0], reason in found[1]) == (result, True), found


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: \r\n",
        b"DKIM-Signature: v=1; v=1; a=rsa-sha256\r\n",
        b"DKIM-Signature: garbage\r\n",
        b"DKIM-Signature: v=1; a=\0\r\n",
        b"DKIM-Signature: v=1; d=\xff\xfe\r\n",
        b"DKIM-Signature: " + b";" * 1000 + b"\r\n",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=rsa; h=from; bh=x; b=y\r\n",
    ],
)
def test_a_signature_that_cannot_be_read_is_an_answer_too(field: bytes) -> None:
    assert only(field + MESSAGE)[0] in ("neutral", "permerror")


@pytest.mark.parametrize(
    ("answer", "result", "reason"),
    [
        (None, "permerror", "no key for the signature"),
        ([], "permerror", "no key for the signature"),
        ("silent", "temperror", "no answer"),
        (["v=spf1 -all"], "permerror", "key syntax error"),
        (["v=DKIM1; p="], "permerror", "key revoked"),
        (["k=rsa"], "permerror", "no p="),
        (["v=DKIM2; p=AAAA"], "permerror", "v= must come first"),
        (["p=AAAA; v=DKIM1"], "permerror", "v= must come first"),
        (["v=DKIM1; p=AAAA"], "permerror", "p= is no public key"),
        (["v=DKIM1; p=@@@@"], "permerror", "p= is no public key"),
    ],
)
def test_a_key_that_is_none(answer: list[str] | str | None, result: str, reason: str) -> None:
    records = {"rsa._domainkey.example.org": SILENT if answer == "silent" else answer} if answer is not None else {}
    found = only(sign(MESSAGE), Zone(records))
    assert (found[0], reason in found[1]) == (result, True), found


@pytest.mark.parametrize(
    ("extra", "result"),
    [
        ("h=sha256; ", "pass"),
        ("h=sha1:SHA256; ", "pass"),
        ("h=sha1; ", "permerror"),
        ("s=email; ", "pass"),
        ("s=tlsrpt:*; ", "pass"),
        ("s=tlsrpt; ", "permerror"),
        ("t=y; ", "pass"),
        ("t=s; ", "pass"),
        ("n=a note; x=unknown; ", "pass"),
        ("p=; ", "permerror"),  # twice p=
    ],
)
def test_the_flags_of_a_key(extra: str, result: str) -> None:
    assert only(sign(MESSAGE), zone(extra=extra))[0] == result


def test_a_key_in_test_mode_says_so() -> None:
    assert only(sign(MESSAGE), zone(extra="t=y; ")) == ("pass", "the domain is testing its keys")


def test_a_strict_key_wants_the_very_domain() -> None:
    message = sign(MESSAGE, i="a@sub.example.org")
    assert only(message)[0] == "pass"
    assert only(message, zone(extra="t=y:s; ")) == (
        "permerror",
        "domain mismatch: the key is for the very domain of d= (t=s)",
    )


def test_of_several_records_the_one_that_fits_is_used() -> None:
    good, other = record(rsa_key()), record(ed25519_key())
    name = "rsa._domainkey.example.org"
    assert only(sign(MESSAGE), Zone({name: ["v=spf1", other, good]}))[0] == "pass"
    assert only(sign(MESSAGE), Zone({name: [other]})) == ("permerror", "inappropriate key algorithm")


def test_a_short_rsa_key_is_policy_and_1024_bits_are_enough() -> None:
    # 512 bits as they were published once; no library makes them any more.
    short = (
        "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALUHjPgCgVXYkXjYFfKM0SgqNXrVNhYdT5vjy3pqzQ0o"
        "7xTeQYcNkTZ0Z2VqUe1yUQ5T0nTdr2d3e3lRr1r4Q5kCAwEAAQ=="
    )
    result, reason = only(sign(MESSAGE), Zone({"rsa._domainkey.example.org": [short]}))
    assert (result, "too short" in reason) == ("policy", True), reason
    key = rsa_key(1024)
    assert only(sign(MESSAGE, private=key), Zone({"rsa._domainkey.example.org": [record(key)]}))[0] == "pass"


def test_a_bare_rsa_public_key_is_read() -> None:
    from cryptography.hazmat.primitives import serialization

    octets = rsa_key().public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    bare = f"p={base64.b64encode(octets).decode()}"
    assert only(sign(MESSAGE), Zone({"rsa._domainkey.example.org": [bare]}))[0] == "pass"


def test_ten_signatures_are_tried_and_each_key_is_asked_for_once() -> None:
    at = zone()
    message = MESSAGE
    for _ in range(12):
        message = sign(message)
    found = verified(message, at)
    assert [one.result for one in found] == ["pass"] * 10
    assert at.asked == ["rsa._domainkey.example.org"]


def test_signatures_are_judged_each_for_itself() -> None:
    message = sign(sign(MESSAGE, private=ed25519_key()), s="gone")
    message = sign(message, d="example.net")
    at = zone()
    at.records["rsa._domainkey.example.net"] = SILENT
    assert [(one.domain, one.selector, one.result) for one in verified(message, at)] == [
        ("example.net", "rsa", "temperror"),
        ("example.org", "gone", "permerror"),
        ("example.org", "ed", "pass"),
    ]


def test_an_international_domain_is_asked_for_by_its_a_label() -> None:
    at = Zone({"rsa._domainkey.xn--mze-hoa.example": [record(rsa_key())]})
    (one,) = verified(sign(MESSAGE, d="müze.example"), at)
    assert (one.domain, one.result) == ("xn--mze-hoa.example", "pass")


def test_no_signature_is_no_answer() -> None:
    assert verified(MESSAGE) == []


def test_a_header_of_a_megabyte_and_a_body_of_many_cost_little() -> None:
    names = ":".join(["from", *("x" for _ in range(100_000))])
    head = b"".join(b"X: %d\r\n" % number for number in range(60_000))
    message = sign(head + MESSAGE, headers=names)
    assert len(message) > 700_000
    began = time.process_time()
    assert only(message)[0] == "pass"
    assert time.process_time() - began < 3


def test_a_long_body_with_ten_signatures_is_hashed_once_and_not_kept() -> None:
    head = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/%s; d=example.org; s=rsa; h=from; l=%d; bh=AAAA; b=AAAA\r\n"
        % (b"relaxed" if number % 2 else b"simple", number * 1_000_000)
        for number in range(10)
    )

    def pieces() -> Iterator[bytes]:
        yield head + b"From: a@example.org\r\n\r\n"
        for _ in range(160):
            yield b"a line of text with \t spaces \r\n" * 3300  # 16 MiB in all

    tracemalloc.start()
    began = time.process_time()
    message = read(pieces())
    assert time.process_time() - began < 4
    assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    tracemalloc.stop()
    assert {one.result for one in asyncio.run(verify(message, zone().ask, lambda: NOW))} == {Result.FAIL}


# The example of RFC 8463 appendix A: one message, two signatures, keys that the standard prints.
STANDARD = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
"""


def test_the_example_of_the_standard() -> None:
    at = Zone(
        {
            "brisbane._domainkey.football.example.com": [
                "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
            ],
            "test._domainkey.football.example.com": [
                "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2"
                "jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
                "Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
            ],
        }
    )
    assert [(one.selector, one.result) for one in verified(STANDARD, at)] == [("brisbane", "pass"), ("test", "pass")]
    changed = STANDARD.replace(b"hungry", b"thirsty")
    assert [one.result for one in verified(changed, at)] == ["fail", "fail"]
