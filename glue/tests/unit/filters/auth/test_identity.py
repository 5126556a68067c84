"""Who a message says it is from, clear or not, and which of that SPF, DKIM and DMARC prove."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from postane.core.address import Address
from postane.filters.auth import dkim, dmarc, spf
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.identity import Proof, authors, proofs
from postane.filters.auth.spf_record import Result as Spf


@pytest.mark.parametrize(
    ("header", "clear", "claims"),
    [
        (b"From: Ayse <Ayse@Example.org>", "ayse@example.org", ["ayse@example.org"]),
        (b'From: "boss@bank.example" <a@b.example>', "a@b.example", ["a@b.example"]),
        (b"From: a@b.example, c@d.example", None, ["a@b.example", "c@d.example"]),
        (b"From: a@b.example\r\nSubject: x\r\nFrom: c@d.example", None, ["a@b.example", "c@d.example"]),
        (b"From : a@b.example", None, ["a@b.example"]),
        (b"Subject: x@y.example", None, []),
        (b"", None, []),
    ],
)
def test_authors(header: bytes, clear: str | None, claims: list[str]) -> None:
    one, every = authors(header)
    assert (one.key if one else None) == clear
    assert [address.key for address in every] == claims


def test_a_hostile_from_costs_little() -> None:
    begun = time.process_time()
    authors(b"\r\n".join([b"From: " + b"a" * 20_000] * 200))
    authors(b"From: " + b"a@b.example," * 20_000)
    assert time.process_time() - begun < 0.5


def found(spf_said: str, dmarc_said: Result, *signed: tuple[str, Result]) -> Any:
    return SimpleNamespace(
        spf=spf.Checked(Spf(spf_said), "example.org"),
        dkim=[dkim.Signed(domain, "s", result) for domain, result in signed],
        dmarc=dmarc.Evaluation(dmarc_said),
    )


@pytest.mark.parametrize(
    ("given", "envelope", "author"),
    [
        (found("pass", Result.NONE), Proof.YES, Proof.NO),
        (found("softfail", Result.NONE), Proof.NO, Proof.NO),
        (found("temperror", Result.NONE), Proof.UNKNOWN, Proof.NO),
        (found("none", Result.PASS), Proof.NO, Proof.YES),
        (found("none", Result.TEMPERROR), Proof.NO, Proof.UNKNOWN),
        (found("none", Result.NONE, ("shop.example", Result.PASS)), Proof.NO, Proof.YES),
        (found("none", Result.NONE, ("shop.example", Result.POLICY)), Proof.NO, Proof.NO),
        (found("none", Result.NONE, ("example", Result.PASS), ("other.example", Result.PASS)), Proof.NO, Proof.NO),
        (found("none", Result.FAIL, ("shop.example", Result.TEMPERROR)), Proof.NO, Proof.UNKNOWN),
    ],
)
def test_what_is_proven(given: Any, envelope: Proof, author: Proof) -> None:
    said = proofs(given, "bounce@example.org", Address.parse("news@shop.example"))
    assert said == {"bounce@example.org": envelope, "news@shop.example": author}


def test_spf_proves_an_author_of_the_same_domain() -> None:
    said = proofs(found("pass", Result.NONE), "bounce@example.org", Address.parse("news@example.org"))
    assert said["news@example.org"] is Proof.YES
    assert proofs(found("pass", Result.NONE), "", None) == {}


def dmarc_said(result: Result, disposition: Any = "none") -> Any:
    given = found("pass", result)
    given.dmarc = dmarc.Evaluation(result, disposition=disposition)
    return given


@pytest.mark.parametrize(
    ("given", "envelope"),
    [
        (dmarc_said(Result.PASS), Proof.YES),
        (dmarc_said(Result.NONE), Proof.YES),
        (dmarc_said(Result.FAIL), Proof.YES),  # the author's domain asks for nothing
        (dmarc_said(Result.FAIL, "quarantine"), Proof.NO),
        (dmarc_said(Result.FAIL, "reject"), Proof.NO),
        (dmarc_said(Result.PERMERROR), Proof.NO),
        (dmarc_said(Result.TEMPERROR), Proof.UNKNOWN),
    ],
)
def test_who_shows_another_against_its_will_proves_nothing_by_spf(given: Any, envelope: Proof) -> None:
    author = None if given.dmarc.result is Result.PERMERROR else Address.parse("boss@bank.example")
    assert proofs(given, "bounce@friend.example", author)["bounce@friend.example"] is envelope


def test_spf_that_fails_is_no_better_for_a_good_from() -> None:
    assert proofs(found("fail", Result.PASS), "a@friend.example", None)["a@friend.example"] is Proof.NO
    assert proofs(found("temperror", Result.PASS), "a@friend.example", None)["a@friend.example"] is Proof.UNKNOWN
