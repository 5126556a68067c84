"""Alignment and policy: the tables of RFC 9989 (section 4.4, appendices B.1 and B.4) and what failures make of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from postane.core.question import Answer
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc import Evaluation, Identifier, judge
from postane.filters.auth.dmarc_walk import Discovery
from support.signing import SILENT, Zone

Records = Mapping[str, str | Answer | Sequence[str]]


def judged(
    author: str,
    records: Records,
    *,
    spf: Mapping[str, str] | None = None,
    dkim: Mapping[str, str] | None = None,
) -> Evaluation:
    """`records` by domain are DMARC records; a key with "=" before it is the name itself."""
    at = Zone(
        {
            name[1:] if name.startswith("=") else f"_dmarc.{name}": [answer] if isinstance(answer, str) else answer
            for name, answer in records.items()
        }
    )
    return asyncio.run(
        judge(
            author,
            [Identifier(name, Result(result)) for name, result in (spf or {}).items()],
            [Identifier(name, Result(result)) for name, result in (dkim or {}).items()],
            Discovery(at.ask),
        )
    )


@pytest.mark.parametrize("mode", ["r", "s"])
@pytest.mark.parametrize(
    ("identifier", "author", "relaxed", "strict"),
    [
        ("example.com", "example.com", True, True),
        ("child.example.com", "example.com", True, False),
        ("example.com", "child.example.com", True, False),
        ("foo.example.com", "news.example.com", True, False),
        ("news.example.com", "news.example.com", True, True),
        ("foo.example.net", "news.example.com", False, False),
        ("example.net", "child.example.com", False, False),
        ("badexample.com", "example.com", False, False),
        ("com", "example.com", False, False),
        ("example.com.evil.net", "example.com", False, False),
    ],
)
def test_alignment(mode: str, identifier: str, author: str, relaxed: bool, strict: bool) -> None:
    aligned = strict if mode == "s" else relaxed
    records = {"example.com": f"v=DMARC1; p=reject; adkim={mode}; aspf={mode}", "example.net": "v=DMARC1; p=none"}
    for mechanism in ("spf", "dkim"):
        found = judged(author, records, **{mechanism: {identifier: "pass"}})
        assert (found.result, found.disposition) == (("pass", "none") if aligned else ("fail", "reject"))
        assert (found.spf_aligned, found.dkim_aligned) == (
            aligned and mechanism == "spf",
            aligned and mechanism == "dkim",
        )
        assert (found.organizational_domain, found.policy) == ("example.com", "reject")


def test_each_mechanism_has_its_own_mode() -> None:
    records = {"example.com": "v=DMARC1; p=reject; adkim=s; aspf=r"}
    both = {"a.example.com": "pass"}
    found = judged("example.com", records, spf=both, dkim=both)
    assert (found.spf_aligned, found.dkim_aligned, found.result) == (True, False, "pass")


@pytest.mark.parametrize("result", ["fail", "policy", "neutral", "permerror", "none"])
def test_what_did_not_pass_never_aligns(result: str) -> None:
    records = {"example.com": "v=DMARC1; p=quarantine"}
    found = judged("example.com", records, spf={"example.com": result}, dkim={"example.com": result})
    assert (found.result, found.spf_aligned, found.dkim_aligned) == ("fail", False, False)
    found = judged("example.com", records, dkim={"example.com": result, "a.example.com": "pass"})
    assert (found.result, found.dkim_aligned) == ("pass", True)


def test_the_tree_walk_examples_of_appendix_b() -> None:
    # B.4.1, simple: all three share example.com.
    records = {"example.com": "v=DMARC1; p=reject", "signing.example.com": "v=DMARC1; p=none"}
    found = judged("example.com", records, spf={"example.com": "pass"}, dkim={"signing.example.com": "pass"})
    assert (found.result, found.spf_aligned, found.dkim_aligned) == ("pass", True, True)
    # B.4.2, deep.
    deep = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    found = judged(deep, records, spf={"example.com": "pass"}, dkim={"signing.example.com": "pass"})
    assert (found.organizational_domain, found.spf_aligned, found.dkim_aligned) == ("example.com", True, True)
    # B.4.3, with a public suffix domain: giant.bank.example is below mail of another owner.
    records = {"bank.example": "v=DMARC1; p=reject; psd=y"}
    found = judged(
        "giant.bank.example", records, spf={"mail.giant.bank.example": "pass"}, dkim={"mail.mega.bank.example": "pass"}
    )
    assert (found.organizational_domain, found.spf_aligned, found.dkim_aligned) == ("giant.bank.example", True, False)
    assert (found.policy, found.record_at) == ("reject", "bank.example")


def test_an_organization_within_another_does_not_align_with_it() -> None:
    records = {"example.com": "v=DMARC1; p=reject", "uni.example.com": "v=DMARC1; p=reject; psd=n"}
    assert judged("uni.example.com", records, dkim={"example.com": "pass"}).result == "fail"
    assert judged("example.com", records, dkim={"uni.example.com": "pass"}).result == "fail"
    assert judged("a.uni.example.com", records, dkim={"uni.example.com": "pass"}).result == "pass"


@pytest.mark.parametrize(
    ("author", "policy"),
    [
        ("example.com", "none"),
        ("here.example.com", "quarantine"),
        ("gone.example.com", "reject"),
        ("own.example.com", "reject"),
    ],
)
def test_the_policy_is_p_sp_or_np(author: str, policy: str) -> None:
    records = {
        "example.com": "v=DMARC1; p=none; sp=quarantine; np=reject",
        "own.example.com": "v=DMARC1; p=reject; sp=none",
        "=here.example.com": [],
    }
    found = judged(author, records)
    assert (found.result, found.policy, found.disposition) == ("fail", policy, policy)
    # What passes has the policy and no disposition.
    found = judged(author, records, dkim={author: "pass"})
    assert (found.result, found.policy, found.disposition) == ("pass", policy, "none")


@pytest.mark.parametrize(
    ("policy", "disposition"), [("none", "none"), ("quarantine", "none"), ("reject", "quarantine")]
)
def test_test_mode_is_one_step_milder(policy: str, disposition: str) -> None:
    found = judged("example.com", {"example.com": f"v=DMARC1; p={policy}; t=y"})
    assert (found.result, found.policy, found.disposition) == ("fail", policy, disposition)


def test_pct_of_old_records_changes_nothing() -> None:
    found = judged("example.com", {"example.com": "v=DMARC1; p=reject; pct=0"})
    assert (found.result, found.policy, found.disposition) == ("fail", "reject", "reject")


def test_a_top_level_domain_that_is_silent_is_missed_only_where_nothing_else_was_found() -> None:
    silent: Records = {"example.com": "v=DMARC1; p=reject", "com": SILENT}
    assert judged("example.com", silent, dkim={"a.example.com": "pass"}).result == "pass"
    found = judged("a.example.com", silent)
    assert (found.result, found.policy, found.organizational_domain) == ("fail", "reject", "example.com")
    assert judged("a.example.net", {"net": SILENT}).result == "temperror"


def test_without_a_record_there_is_no_dmarc() -> None:
    found = judged("a.example.com", {}, dkim={"a.example.com": "pass"})
    assert (found.result, found.policy, found.disposition, found.dkim_aligned) == ("none", "none", "none", False)
    assert judged("example.com", {"example.com": "v=DMARC1; p=bogus"}).result == "none"
    assert judged("example.com", {"example.com": "v=DMARC1; p=bogus; rua=mailto:a@b.example"}).result == "fail"


def test_what_could_not_be_asked_and_would_have_decided_is_temperror() -> None:
    reject: Records = {"example.com": "v=DMARC1; p=reject"}
    assert judged("example.com", {"example.com": SILENT}).result == "temperror"
    for mechanism in ("spf", "dkim"):
        found = judged("example.com", reject, **{mechanism: {"a.example.com": "temperror"}})
        assert (found.result, found.disposition, found.policy) == ("temperror", "none", "reject")
        assert judged("example.com", reject, **{mechanism: {"other.net": "temperror"}}).result == "fail"
    # Another that passes decides alone.
    found = judged("example.com", reject, spf={"example.com": "temperror"}, dkim={"example.com": "pass"})
    assert (found.result, found.spf_aligned) == ("pass", False)
    # The walk of an identifier, and our own.
    walk: Records = {**reject, "a.example.com": SILENT}
    assert judged("example.com", walk, dkim={"a.example.com": "pass"}).result == "temperror"
    assert judged("example.com", walk, dkim={"a.example.com": "pass", "example.com": "pass"}).result == "pass"
    top: Records = {"a.example.com": "v=DMARC1; p=reject", "example.com": SILENT}
    assert judged("a.example.com", top, dkim={"a.example.com": "pass"}).result == "pass"
    assert judged("a.example.com", top, dkim={"b.a.example.com": "pass"}).result == "temperror"
    assert judged("a.example.com", top, dkim={"example.net": "pass"}).result == "fail"
    strict: Records = {"example.com": "v=DMARC1; p=reject; adkim=s", "a.example.com": SILENT}
    assert judged("example.com", strict, dkim={"a.example.com": "pass"}).result == "fail"
    # Whether the author domain exists at all.
    exists: Records = {"example.com": "v=DMARC1; p=none; np=reject", "=a.example.com": SILENT}
    assert judged("a.example.com", exists).result == "temperror"
    assert judged("a.example.com", exists, dkim={"example.com": "pass"}).result == "pass"
