"""Records as RFC 9989 sections 4.7, 4.8 and 4.10.1 read them."""

from __future__ import annotations

import pytest

from postane.filters.auth.dmarc_record import only, parse


@pytest.mark.parametrize(
    ("text", "p", "below", "missing"),
    [
        ("v=DMARC1; p=reject", "reject", "reject", "reject"),
        ("v=DMARC1; p=none; sp=quarantine", "none", "quarantine", "quarantine"),
        ("v=DMARC1; p=none; np=reject", "none", "none", "reject"),
        ("v=DMARC1; p=none; sp=quarantine; np=reject", "none", "quarantine", "reject"),
        ("v=DMARC1;p=REJECT;", "reject", "reject", "reject"),
        ("v = DMARC1 ; p = quarantine ;", "quarantine", "quarantine", "quarantine"),
        ("v=DMARC1; rua=mailto:a@b.example; p=reject", "reject", "reject", "reject"),
        ("v=DMARC1; p=reject; pct=0; ri=3600; rf=afrf", "reject", "reject", "reject"),  # unknown tags since
        ("v=DMARC1; p=reject; pct=x", "reject", "reject", "reject"),
        ("v=DMARC1; p=reject; adkim=x; fo=9; unknown=1; nonsense; =", "reject", "reject", "reject"),
        ("v=DMARC1; p=reject; p=none", "reject", "reject", "reject"),
    ],
)
def test_the_policies_of_a_record(text: str, p: str, below: str, missing: str) -> None:
    record = parse(text)
    assert record.applies
    assert (record.p, record.for_subdomain(exists=True), record.for_subdomain(exists=False)) == (p, below, missing)


@pytest.mark.parametrize("tags", ["", "p=bogus", "p=", "p=reject; sp=bogus", "p=reject; np=bogus", "sp=reject"])
def test_a_policy_that_cannot_be_read_is_none_for_whoever_wants_reports_and_nothing_else(tags: str) -> None:
    record = parse(f"v=DMARC1; {tags}; rua=mailto:a@b.example")
    assert record.applies
    assert {record.p, record.for_subdomain(exists=True), record.for_subdomain(exists=False)} == {"none"}
    for rua in ("", "; rua=", "; rua=a@b.example", "; rua=mailto:nobody"):
        assert not parse(f"v=DMARC1; {tags}{rua}").applies


def test_tags_with_defaults() -> None:
    record = parse("v=DMARC1; p=none")
    assert (record.strict_dkim, record.strict_spf, record.testing, record.psd) == (False, False, False, "u")
    record = parse("v=DMARC1; p=none; adkim=S; aspf=s; t=Y; psd=N; rua=mailto:a@b.example!10m, mailto:c@d.example")
    assert (record.strict_dkim, record.strict_spf, record.testing, record.psd) == (True, True, True, "n")
    assert record.rua == ("mailto:a@b.example", "mailto:c@d.example")
    assert parse("v=DMARC1; p=none; psd=maybe").psd == "u"


@pytest.mark.parametrize(
    "text",
    [
        "v=dmarc1; p=reject",
        "v=DMARC12; p=reject",
        "v=DMARC1 p=reject",
        "p=reject; v=DMARC1",
        " v=DMARC1; p=reject",
        "v=spf1 -all",
        "",
    ],
)
def test_what_is_no_record(text: str) -> None:
    assert only([text]) is None
    found = only([text, "v=DMARC1; p=reject"])
    assert found is not None
    assert found.p == "reject"


def test_several_records_are_none() -> None:
    assert only(["v=DMARC1; p=reject", "v=DMARC1; p=reject"]) is None
