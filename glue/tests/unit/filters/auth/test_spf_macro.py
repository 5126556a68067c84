"""Macros: the grammar of RFC 7208 section 7.1, and its examples in section 7.4."""

from __future__ import annotations

import time

import pytest

from postane.filters.auth.spf_macro import SyntaxProblem, expand, parse_domain, parse_string, uses

VALUES = {
    "s": "strong-bad@email.example.com",
    "l": "strong-bad",
    "o": "email.example.com",
    "d": "email.example.com",
    "i": "192.0.2.3",
    "p": "mx.example.org",
    "v": "in-addr",
    "h": "mx.example.org",
    "c": "192.0.2.3",
    "r": "mail.receiver.example",
    "t": "1700000000",
}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        # Beyond the examples: as many parts as the digits say, 127 and more of them too.
        ("%{d127}", "email.example.com"),
        ("%{d99999}", "email.example.com"),
        ("%{d" + "9" * 9000 + "}", "email.example.com"),
        ("%{d" + "0" * 9000 + "1}", "com"),
        ("%{D2}", "example.com"),
        ("%{DR}", "com.example.email"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{s_-}", "strong.bad@email.example.com"),
        ("%{s1.-}", "com"),
        ("%{h}-%{p}", "mx.example.org-mx.example.org"),
        ("%%.%_.%-", "%. .%20"),
        ("%%{d}", "%{d}"),
    ],
)
def test_examples(text: str, expanded: str) -> None:
    assert expand(parse_string(text), VALUES) == expanded


def test_all_delimiters_part_and_dots_join() -> None:
    assert expand(parse_string("%{l.-+,/_=}"), {"l": "a.b-c+d,e/f_g=h"}) == "a.b.c.d.e.f.g.h"
    assert expand(parse_string("%{l2r+}"), {"l": "one.x+two+three"}) == "two.one.x"
    assert expand(parse_string("%{lr+}"), {"l": "+a++b"}) == "b..a."


def test_a_url_keeps_only_the_unreserved() -> None:
    """Section 7.3, by RFC 3986 section 2.3; other letters as the octets of their UTF-8 (RFC 8616 section 4)."""
    assert expand(parse_string("%{L}"), {"l": "aZ9-._~ !/ü"}) == "aZ9-._~%20%21%2F%C3%BC"


@pytest.mark.parametrize(
    "text",
    [
        "%",
        "%a",
        "%{",
        "%{}",
        "%{d",
        "%{x}",
        "%{d0}",
        "%{d00}",
        "%{d" + "0" * 9000 + "}",
        "%{dx}",
        "%{d.2}",
        "%{dr2}",
        "%{drr}",
        "%{d;}",
        "%{ d}",
    ],
)
def test_broken_macros(text: str) -> None:
    for whole in (text, f"{text}.example.com", f"example.com{text}"):
        with pytest.raises(SyntaxProblem):
            parse_string(whole, explaining=True)


@pytest.mark.parametrize("text", ["a\tb", "a\x7fb", "ünlü", "a\x00b", "a\nb"])
def test_other_characters(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse_string(text, explaining=True)


def test_only_explanations_have_spaces_and_three_letters_more() -> None:
    assert expand(parse_string("see %{c} %{R} %{t}", explaining=True), VALUES) == (
        "see 192.0.2.3 mail.receiver.example 1700000000"
    )
    with pytest.raises(SyntaxProblem):
        parse_string("a b")
    for letter in "crtCRT":
        with pytest.raises(SyntaxProblem):
            parse_domain(f"%{{{letter}}}.example.com")
        assert parse_string(f"%{{{letter}}}.example.com")


@pytest.mark.parametrize(
    "text",
    [
        "example.com",
        "example.com.",
        "_spf.example.com",
        ".com",
        "a..com",
        "foo/bar.example",
        "x:y.example",
        "ex!ample.com",
        "example.c0m",
        "example.4a",
        "example.xn--p1ai",
        "example.1-2",
        "example.co-op",
        "%{d}",
        "%{i}.example.com",
        "a%%",
        "a%_",
        "a%-",
        "100%%.com",
    ],
)
def test_domains(text: str) -> None:
    assert parse_domain(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "com",
        "example.com..",
        "example.",
        ".",
        "192.0.2.1",
        "example.123",
        "example.-com",
        "example.com-",
        "example.co_m",
        "example.com:8080",
        "example.com/24",
        "%{d}com",
        "%{d}/24",
        "a%%-",
        "a%%%",
        "a%%com",
    ],
)
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse_domain(text)


def test_uses() -> None:
    parts = parse_domain("%{P}.example.com")
    assert uses(parts, "p")
    assert not uses(parts, "d")


def test_a_long_text_takes_no_long_time() -> None:
    """Each of these took the square of its length with a careless pattern."""
    begun = time.process_time()
    harmful = ("x." + "a" * 20_000 + "!", "x." + "a-" * 10_000, "%{d" + "." * 20_000, "%" * 20_001, "a." * 10_000 + "1")
    for text in harmful:
        with pytest.raises(SyntaxProblem):
            parse_domain(text)
    assert time.process_time() - begun < 0.5
