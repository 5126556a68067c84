"""The tree walk of RFC 9989 section 4.10, its examples among the cases."""

from __future__ import annotations

import asyncio

import pytest
from publicsuffixlist import PublicSuffixList

from postane.core.errors import TemporaryError
from postane.filters.auth.dmarc_walk import Discovery, Found
from support.signing import SILENT, Zone


def zone(**records: str) -> Zone:
    """Records by domain, dots written as underscores."""
    return Zone({f"_dmarc.{name.replace('_', '.')}": [text] for name, text in records.items()})


def policy(at: Zone, author: str) -> tuple[str, str, str]:
    """Where the record stands, its p, and the organisational domain."""
    found: Found = asyncio.run(Discovery(at.ask).policy(author))
    return found.at if found.record else "", found.record.p if found.record else "", found.organizational


def organizational(at: Zone, domain: str) -> str:
    return asyncio.run(Discovery(at.ask).organizational(domain))


REJECT, NONE = "v=DMARC1; p=reject", "v=DMARC1; p=none"


@pytest.mark.parametrize(
    ("records", "author", "found"),
    [
        ({}, "a.example.com", ("", "", "a.example.com")),
        ({"example_com": REJECT}, "example.com", ("example.com", "reject", "example.com")),
        ({"example_com": REJECT}, "a.example.com", ("example.com", "reject", "example.com")),
        ({"example_com": REJECT}, "a.b.c.example.com", ("example.com", "reject", "example.com")),
        # The author's own record is the policy, and the highest one makes the organisation.
        ({"a_example_com": NONE, "example_com": REJECT}, "a.example.com", ("a.example.com", "none", "example.com")),
        # One between them is passed by.
        ({"b_example_com": NONE, "example_com": REJECT}, "a.b.example.com", ("example.com", "reject", "example.com")),
        ({"b_example_com": NONE}, "a.b.example.com", ("b.example.com", "none", "b.example.com")),
        ({"a_example_com": REJECT}, "a.example.com", ("a.example.com", "reject", "a.example.com")),
        # psd=n: an organisation of its own below another.
        (
            {"mail_example_com": f"{REJECT}; psd=n", "example_com": NONE},
            "a.mail.example.com",
            ("mail.example.com", "reject", "mail.example.com"),
        ),
        (
            {"a_example_com": f"{REJECT}; psd=n", "example_com": NONE},
            "a.example.com",
            ("a.example.com", "reject", "a.example.com"),
        ),
        # psd=y: the organisation is one label below, the policy is its own if it has one.
        ({"com": f"{REJECT}; psd=y"}, "a.mail.example.com", ("com", "reject", "example.com")),
        ({"com": f"{NONE}; psd=y", "example_com": REJECT}, "a.example.com", ("example.com", "reject", "example.com")),
        ({"com": f"{REJECT}; psd=y", "a_example_com": NONE}, "b.a.example.com", ("com", "reject", "example.com")),
        ({"co_uk": f"{REJECT}; psd=y", "uk": NONE}, "example.co.uk", ("co.uk", "reject", "example.co.uk")),
        # The author is itself a public suffix: the rule of one label below does not count for where the walk starts.
        ({"co_uk": f"{REJECT}; psd=y"}, "co.uk", ("co.uk", "reject", "co.uk")),
        ({"com": REJECT}, "example.com", ("com", "reject", "com")),
    ],
)
def test_policy_and_organization(records: dict[str, str], author: str, found: tuple[str, str, str]) -> None:
    assert policy(zone(**records), author) == found


def test_the_examples_of_section_4_10_2() -> None:
    start = "a.mail.example.com"
    assert organizational(zone(mail_example_com=NONE, example_com=NONE), start) == "example.com"
    assert organizational(zone(mail_example_com=f"{NONE}; psd=n", example_com=NONE), start) == "mail.example.com"
    assert organizational(zone(com=f"{NONE}; psd=y"), start) == "example.com"
    assert organizational(zone(example_com=f"{NONE}; psd=y"), "mail.example.com") == "mail.example.com"


SEVEN = "b.c.d.e.f.x.com c.d.e.f.x.com d.e.f.x.com e.f.x.com f.x.com x.com com"


@pytest.mark.parametrize(
    ("author", "asked"),
    [
        ("example.com", "com"),
        (
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            "g.h.i.j.mail.example.com h.i.j.mail.example.com i.j.mail.example.com j.mail.example.com"
            " mail.example.com example.com com",
        ),
        ("a.b.c.d.e.f.x.com", SEVEN),
        ("y.a.b.c.d.e.f.x.com", SEVEN),
    ],
)
def test_at_most_eight_names_are_asked_for_in_the_order_of_the_standard(author: str, asked: str) -> None:
    at = zone()
    policy(at, author)
    assert at.asked == [f"_dmarc.{name}" for name in (author, *asked.split())]


@pytest.mark.parametrize("psd", ["y", "n"])
def test_the_walk_stops_where_psd_says_so(psd: str) -> None:
    at = zone(example_com=f"{REJECT}; psd={psd}")
    policy(at, "a.example.com")
    assert at.asked == ["_dmarc.a.example.com", "_dmarc.example.com"]


def test_several_records_at_a_name_are_passed_by() -> None:
    at = zone(example_com=REJECT)
    at.records["_dmarc.a.example.com"] = [f"{NONE}; psd=n", NONE]
    assert policy(at, "b.a.example.com") == ("example.com", "reject", "example.com")
    assert policy(at, "a.example.com") == ("example.com", "reject", "example.com")


def test_a_name_is_asked_for_once_a_message() -> None:
    at = zone(example_com=REJECT)

    async def walks() -> None:
        discovery = Discovery(at.ask)
        await discovery.policy("a.example.com")
        assert await discovery.organizational("b.example.com") == "example.com"
        assert await discovery.organizational("a.example.com") == "example.com"

    asyncio.run(walks())
    assert at.asked == ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com", "_dmarc.b.example.com"]


def test_what_cannot_be_asked_now() -> None:
    at = zone(a_example_com=REJECT)
    at.records["_dmarc.example.com"] = SILENT
    # The policy is known, the organisation is not.
    assert policy(at, "a.example.com") == ("a.example.com", "reject", "")
    for author in ("example.com", "b.example.com"):
        with pytest.raises(TemporaryError):
            policy(at, author)


def test_a_public_suffix_list_takes_the_place_of_the_walk() -> None:
    suffixes = PublicSuffixList()
    at = zone(example_co_uk=REJECT, co_uk=f"{NONE}; psd=y")

    async def found(author: str) -> Found:
        return await Discovery(at.ask, lambda name: suffixes.privatesuffix(name) or "").policy(author)

    one = asyncio.run(found("a.b.example.co.uk"))
    assert (one.at, one.organizational) == ("example.co.uk", "example.co.uk")
    assert at.asked == ["_dmarc.a.b.example.co.uk", "_dmarc.example.co.uk"]
    other = asyncio.run(found("x.other.co.uk"))
    assert (other.record, other.organizational) == (None, "other.co.uk")
    assert asyncio.run(found("co.uk")).organizational == "co.uk"


def test_existence_is_nxdomain_or_not() -> None:
    at = zone(example_com=REJECT)
    at.records["empty.example.com"] = []
    at.records["silent.example.com"] = SILENT
    exists = Discovery(at.ask).exists
    assert asyncio.run(exists("empty.example.com"))
    assert not asyncio.run(exists("gone.example.com"))
    with pytest.raises(TemporaryError):
        asyncio.run(exists("silent.example.com"))
