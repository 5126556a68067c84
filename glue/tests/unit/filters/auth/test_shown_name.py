"""Names in From that are the address of somebody else, and those that only look so."""

from __future__ import annotations

import base64

import pytest

from postane.filters.auth.from_header import author
from postane.filters.auth.message import Message, split
from postane.filters.auth.shown_name import foreign, visible


def shown(value: str, organization: str = "") -> str:
    fields = split(f"From: {value}".encode())
    return foreign(fields, author(Message(fields, {})), organization)


def word(text: str, charset: str = "utf-8") -> str:
    return f"=?{charset}?B?{base64.b64encode(text.encode(charset)).decode()}?="


@pytest.mark.parametrize(
    "value",
    [
        '"boss@bank.example" <x@evil.example>',
        "\"Boss 'boss@bank.example'\" <x@evil.example>",
        '"Boss <boss@bank.example>" <x@evil.example>',
        '"boss\\@bank.example" <x@evil.example>',
        "x@evil.example (boss@bank.example)",
        "Boss (boss@bank.example) <x@evil.example>",
        f"{word('boss@bank.example')} <x@evil.example>",
        f"{word('boss@bank.example', 'utf-16')} <x@evil.example>",
        f"{word('boss@ban')}\r\n {word('k.example')} <x@evil.example>",
        "=?utf-8?q?boss=40bank=2Eexample?= <x@evil.example>",
        "=?utf-8?q?boss=40ba=00nk=2Eexample?= <x@evil.example>",
        f"{word('boss＠bank．example')} <x@evil.example>",  # wide letters
        f"{word('boss@ba' + chr(0x200B) + 'nk.example')} <x@evil.example>",  # with no width at all
        "boss＠bank.example <x@evil.example>",
        f"{word(chr(0x202E) + 'elpmaxe.knab@ssob')} <x@evil.example>",  # turned round
        '"x@evil.example boss@bank.example" <x@evil.example>',
        '"boss@evil.example.bank.example" <x@evil.example>',
        '"boss@bankevil.example" <x@evil.example>',
    ],
)
def test_addresses_of_others(value: str) -> None:
    assert shown(value).startswith("boss@")


@pytest.mark.parametrize(
    "value",
    [
        "x@evil.example",
        "X <x@evil.example>",
        '"x@evil.example" <x@evil.example>',
        '"y@EVIL.example" <x@evil.example>',
        '"y@mail.evil.example" <x@evil.example>',
        '"y@evil.example" <x@mail.evil.example>',
        '"Ayse @ work" <x@evil.example>',
        '"@ayse" <x@evil.example>',
        '"a@1.2" <x@evil.example>',
        "=?nonsense?B?YQ?= <x@evil.example>",
        "=?utf-8?B?!!!?= <x@evil.example>",
        '"a@b" <x@evil.example>',
        f"{word('Ayşe')} <x@evil.example>",
    ],
)
def test_what_is_no_address_of_another(value: str) -> None:
    assert shown(value) == ""


def test_the_organisation_is_one() -> None:
    value = '"boss@sales.bank.example" <x@mail.bank.example>'
    assert shown(value) == "boss@sales.bank.example"
    assert shown(value, "bank.example") == ""


def test_any_octets_are_taken() -> None:
    assert visible("=?utf-8?q?=FF=FE?= =?x?q?=?= =?us-ascii?b?====?=")
    assert foreign((), author(Message(split(b"From: x@evil.example"), {}))) == ""
    fields = split(b"From: x@evil.example\r\n")
    assert foreign(split(b"From: " + b"a@b." * 200_000), author(Message(fields, {}))) == ""
