"""One clear address or none: the grammar, and the tricks that play one reader of a header against another."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.auth.from_header import FromError, author, parse
from postane.filters.auth.message import read


@pytest.mark.parametrize(
    ("value", "key", "name"),
    [
        (b" ayse@example.org", "ayse@example.org", ""),
        (b"<ayse@example.org>", "ayse@example.org", ""),
        (b" Ayse Yilmaz <Ayse@EXAMPLE.org> ", "ayse@example.org", "Ayse Yilmaz"),
        (b" John Q. Public <j.q.public@example.org>", "j.q.public@example.org", "John Q. Public"),
        (b' "boss@bank.example" <ayse@example.org>', "ayse@example.org", '"boss@bank.example"'),
        (b' "a \\" <boss@bank.example>" <ayse@example.org>', "ayse@example.org", '"a \\" <boss@bank.example>"'),
        (b" =?utf-8?q?boss=40bank.example?= <ayse@example.org>", "ayse@example.org", "=?utf-8?q?boss=40bank.example?="),
        (
            b" =?utf-8?b?Ym9zc0BiYW5rLmV4YW1wbGU=?=\r\n <ayse@example.org>",
            "ayse@example.org",
            "=?utf-8?b?Ym9zc0BiYW5rLmV4YW1wbGU=?=",
        ),
        (b" ayse@example.org (boss@bank.example)", "ayse@example.org", ""),
        (b" (boss@bank.example, (<x@y>)) ayse@example.org", "ayse@example.org", ""),
        (b" Ayse (boss@bank.example) <ayse@example.org>", "ayse@example.org", "Ayse (boss@bank.example)"),
        (b"\r\n\tAyse\r\n\t<ayse@example.org>", "ayse@example.org", "Ayse"),
        (b' "ayse yilmaz"@example.org', "ayse yilmaz@example.org", ""),
        (b' <"a@bank.example"@example.org>', "a@bank.example@example.org", ""),
        ("Ayşe <ayşe@müze.example>".encode(), "ayşe@xn--mze-hoa.example", "Ayşe"),
        (b" o'brien+tag=x@a-b.example.org", "o'brien+tag=x@a-b.example.org", ""),
    ],
)
def test_what_the_grammar_allows_is_one_address(value: bytes, key: str, name: str) -> None:
    found = parse(value)
    assert (found.address.key, found.name) == (key, name)
    assert found.domain == key.rpartition("@")[2]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b" Ayse",
        b" <>",
        b" Ayse <>",
        b" ayse",
        b" ayse@",
        b" @example.org",
        b" <@example.org>",
        b" ayse@example.org, boss@bank.example",
        b" ayse@example.org,",
        b" , ayse@example.org",
        b" <ayse@example.org>, <boss@bank.example>",
        b" <ayse@example.org> <boss@bank.example>",
        b" <ayse@example.org> boss@bank.example",
        b" ayse@example.org <boss@bank.example>",
        b" boss@bank.example ayse@example.org",
        b" Ayse ayse@example.org",
        b" <<ayse@example.org>>",
        b" <ayse@example.org",
        b" ayse@example.org>",
        b" friends: ayse@example.org;",
        b" friends: ayse@example.org, boss@bank.example;",
        b" undisclosed-recipients:;",
        b" <@bank.example:ayse@example.org>",
        b" <@bank.example,@x.example:ayse@example.org>",
        b" @bank.example:<ayse@example.org>",
        b" ayse (c) @example.org",
        b" ayse@ (boss@bank.example) example.org",
        b" ayse @example.org",
        b" ayse@ example.org",
        b" <ayse@example.org (c)>",
        b" < ayse@example.org>",
        b" <ayse@example.org >",
        b" ayse@\r\n example.org",
        b" ayse@example.org\r\n \r\n <boss@bank.example>",
        b" \r\n \r\n ayse@example.org",
        b" ayse@example.org (never ends",
        b' "never ends <ayse@example.org>',
        b" ayse@example.org)",
        b" ayse@example.org\0",
        b" boss@bank.example\0<ayse@example.org>",
        b" ayse\0@example.org",
        b" ayse@example.org\r<boss@bank.example>",
        b" ayse@example\x01.org",
        b' "a\0b" <ayse@example.org>',
        b' "a\rb" <ayse@example.org>',
        b" ayse@example.org (a\x7fb)",
        b" =?utf-8?q?ayse=40example.org?=",
        b" =?utf-8?q?boss=40bank.example=00?=@example.org",
        b" ayse@=?utf-8?q?example.org?=",
        b" <=?utf-8?q?ayse?=@example.org>",
        b" ayse@[192.0.2.1]",
        b" ayse@example..org",
        b" ayse@.example.org",
        b" ayse@example.org.",
        b" .ayse@example.org",
        b" ay..se@example.org",
        b" ayse@exa_mple.org/x",
        b" ayse@example.org@bank.example",
        b" <ayse@example.org@bank.example>",
        b" ayse;boss@bank.example",
        b" \xff\xfe@example.org",
        b" a\\yse@example.org",
        b" Ayse [x] <ayse@example.org>",
        b' "a"b"@example.org',
        b" " + b"(" * 100 + b")" * 100 + b" ayse@example.org",
        b" " + b"x" * 20_000 + b" <ayse@example.org>",
        b" " + b"a" * 65 + b"@example.org",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(value: bytes) -> None:
    with pytest.raises(FromError):
        parse(value)


def message_author(head: bytes) -> str:
    return author(read([head + b"\r\nbody From: x@y.example\r\n"])).address.key


@pytest.mark.parametrize("name", [b"From:", b"from:", b"FROM:"])
def test_one_field_is_the_author(name: bytes) -> None:
    head = b"Subject: x\r\n" + name + b" ayse@example.org\r\nFrom-Note: boss@bank.example\r\nX-From: b@c.example\r\n"
    assert message_author(head) == "ayse@example.org"


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: x\r\n",
        b"From: ayse@example.org\r\nFrom: ayse@example.org\r\n",
        b"From: ayse@example.org\r\nSubject: x\r\nfrom: boss@bank.example\r\n",
        b"From: ayse@example.org\nFrom: boss@bank.example\n",
        b"From : ayse@example.org\r\n",
        b"From: ayse@example.org\r\nFrom : boss@bank.example\r\n",
        b"From: ayse@example.org\r\nFrom\t: boss@bank.example\r\n",
        b"From: ayse@example.org\r\nFrom boss@bank.example\r\n",
        b"From boss@bank.example\r\nSubject: x\r\n",
        b"From: ayse@example.org\r\nFrom\r\n : boss@bank.example\r\n",
        b"From: ayse@example.org\r\n From: boss@bank.example\r\n",
        b" From: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"\0From: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"Fr\0om: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"From\0: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"\xef\xbb\xbfFrom: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"Subject: x\rFrom: boss@bank.example\r\nFrom: ayse@example.org\r\n",
        b"From: ayse@example.org\rFrom: boss@bank.example\r\n",
    ],
)
def test_two_fields_or_what_looks_like_a_second_one_is_refused(head: bytes) -> None:
    with pytest.raises(FromError):
        message_author(head)


def test_a_header_that_does_not_end_has_no_author() -> None:
    with pytest.raises(FromError):
        author(read([b"From: ayse@example.org\r\n" + b"X: y\r\n" * 1_000_000]))


@given(st.text('ab.@<>()"\\,;: \t[]=?é', max_size=30))
def test_any_text_is_an_address_or_a_refusal(text: str) -> None:
    try:
        found = parse(text.encode())
    except FromError:
        return
    # Whatever is accepted: outside quotes and comments there is one @, and the domain behind it.
    assert found.address.domain in text
    assert text.count("@") == 1 or '"' in text or "(" in text


@pytest.mark.parametrize("unit", [b"(", b"()", b'"', b'""', b"a ", b".", b"\\", b"<", b"=?"])
def test_a_long_field_costs_little(unit: bytes) -> None:
    began = time.process_time()
    with pytest.raises(FromError):
        parse(unit * (15_000 // len(unit)))
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\u200b", "\u200f", "\ufeff", "\u00ad"])
def test_what_is_invisible_has_no_place_in_an_address(mark: str) -> None:
    for text in (f"<a{mark}b@x.example>", f"<a@x{mark}y.example>", f"a{mark}b@x.example"):
        with pytest.raises(FromError):
            parse(text.encode())
    assert parse(f"Ayse{mark} <a@x.example>".encode()).address.key == "a@x.example"
    assert parse("<می\u200cخواهم@x.example>".encode()).domain == "x.example"
