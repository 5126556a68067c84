"""Allow and block entries: how they are written, what each of them names, and ten thousand of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.filters.senders.entries import Entries, entries, host, normal


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("bob@example.org", "bob@example.org"),
        (" Bob@EXAMPLE.org ", "bob@example.org"),
        ("example.org", "example.org"),
        ("*@example.org", "example.org"),
        ("@Example.Org", "example.org"),
        (".example.org", ".example.org"),
        ("*.example.org", ".example.org"),
        ("müller.example", "xn--mller-kva.example"),
        ("çiğdem@müller.example", "çiğdem@xn--mller-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_one_form_for_each_entry(text: str, kept: str) -> None:
    assert normal(text) == kept
    assert normal(kept) == kept


@pytest.mark.parametrize(
    "text", ["", "*", "org", ".org", "a b@example.org", "bob@", "*@", "a*@example.org", "192.0.2.1/24", "1.2.3", "::g"]
)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(AddressError):
        normal(text)
    with pytest.raises(AddressError):
        Entries([text])


@given(st.text(alphabet='aü@.*+:/0128[]" <>,;=-_%\\\ud800\0\r\n', max_size=30))
def test_whatever_is_written_has_one_form_or_is_refused(text: str) -> None:
    try:
        kept = normal(text)
    except AddressError:
        return
    assert normal(kept) == kept
    assert Entries([text]).texts == (text,)


@pytest.mark.parametrize(
    ("entry", "sender", "named"),
    [
        ("bob@example.org", "Bob@Example.ORG", True),
        ("bob@example.org", "bob+news@example.org", True),
        ("bob@example.org", "prvs=5123abcdef=bob@example.org", True),
        ("bob+news@example.org", "bob@example.org", False),
        ("bob@example.org", "bob@mail.example.org", False),
        ("example.org", "anyone@example.org", True),
        ("example.org", "anyone@mail.example.org", False),
        ("example.org", "anyone@notexample.org", False),
        (".example.org", "anyone@example.org", True),
        (".example.org", "anyone@deep.mail.example.org", True),
        (".example.org", "anyone@notexample.org", False),
        ("xn--mller-kva.example", "a@MÜLLER.example", True),
    ],
)
def test_whom_an_entry_names(entry: str, sender: str, named: bool) -> None:
    found = Entries([entry, "other.example"])
    assert bool(found.naming(Address.parse(sender))) is named
    assert not found.holding(host("192.0.2.1"))


@pytest.mark.parametrize(
    ("peer", "entry"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.2", "192.0.2.0/25"),
        ("192.0.2.200", "192.0.0.0/16"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1::1", "2001:db8::/32"),
        ("2001:db9::1", ""),
        ("198.51.100.1", ""),
    ],
)
def test_the_narrowest_network_holds_a_host(peer: str, entry: str) -> None:
    found = Entries(["192.0.0.0/16", "192.0.2.0/25", "192.0.2.1", "2001:db8::/32"])
    assert found.holding(host(peer)) == entry


def test_ten_thousand_entries_cost_a_moment_once_and_nothing_later() -> None:
    names = [f"user{at}@d{at}.example" for at in range(7_000)] + [f".t{at}.example" for at in range(1_500)]
    texts = tuple(names + [f"10.{at // 250}.{at % 250}.0/24" for at in range(1_500)])
    begun = time.process_time()
    found = entries(texts)
    read = time.process_time() - begun
    begun = time.process_time()
    for _ in range(1_000):
        assert not found.naming(Address.parse("somebody@mail.elsewhere.example"))
        assert not found.holding(host("192.0.2.1"))
    assert read < 0.5
    assert time.process_time() - begun < 0.2
    assert entries((*texts,)) is found
    assert found.naming(Address.parse("a@b.t99.example")) == ".t99.example"
    assert found.holding(host("10.3.7.9")) == "10.3.7.0/24"
