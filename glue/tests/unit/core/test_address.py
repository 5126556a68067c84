"""Addresses: what is read, what is refused and why, and that two spellings of one mailbox have one key."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.address import Address, is_public_name, normal_domain, normal_local, shown_domain
from postane.core.errors import AddressError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("text", "key", "wire"),
    [
        ("ayse@demo.test", "ayse@demo.test", "ayse@demo.test"),
        ("Ayse@Demo.TEST", "ayse@demo.test", "Ayse@Demo.TEST"),
        ("Ayse@demo.test.", "ayse@demo.test", "Ayse@demo.test."),
        ("o'neil+x=y@demo.test", "o'neil+x=y@demo.test", "o'neil+x=y@demo.test"),
        ('"ayse"@demo.test', "ayse@demo.test", "ayse@demo.test"),
        ('"a b"@demo.test', "a b@demo.test", '"a b"@demo.test'),
        (r'"a\"b\\c"@demo.test', r"a\"b\c@demo.test".replace(r"\"", '"'), r'"a\"b\\c"@demo.test'),
        (r'"a\b"@demo.test', "ab@demo.test", "ab@demo.test"),
        ('"a@b"@demo.test', "a@b@demo.test", '"a@b"@demo.test'),
        ('"a..b"@demo.test', "a..b@demo.test", '"a..b"@demo.test'),
        ("ÇİĞDEM@demo.test", "çiğdem@demo.test", "ÇİĞDEM@demo.test"),
        ("C\u0327ig\u0306dem@demo.test", "çiğdem@demo.test", "C\u0327ig\u0306dem@demo.test"),
        ("straße@demo.test", "strasse@demo.test", "straße@demo.test"),
        ("a@MÜZE.test", "a@xn--mze-hoa.test", "a@MÜZE.test"),
        ("a@xn--mze-hoa.test", "a@xn--mze-hoa.test", "a@xn--mze-hoa.test"),
        ("a@müze。test", "a@xn--mze-hoa.test", "a@müze。test"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0::1]", "a@[2001:db8::1]", "a@[IPv6:2001:DB8:0::1]"),
        ("a" * 64 + "@demo.test", "a" * 64 + "@demo.test", "a" * 64 + "@demo.test"),
    ],
)
def test_read(text: str, key: str, wire: str) -> None:
    address = Address.parse(text)
    assert (address.key, str(address)) == (key, wire)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "local@domain"),
        ("ayse", "local@domain"),
        ("@demo.test", "local@domain"),
        ("ayse@", "local@domain"),
        ("a b@demo.test", "malformed"),
        ("a\0b@demo.test", "malformed"),
        ('"a\0b"@demo.test', "malformed"),
        ('"a\nb"@demo.test', "malformed"),
        ("a\x85b@demo.test", "malformed"),
        ('"a\x85b"@demo.test', "malformed"),
        (".a@demo.test", "malformed"),
        ("a.@demo.test", "malformed"),
        ("a..b@demo.test", "malformed"),
        ("a@b@demo.test", "malformed"),
        ("<a>@demo.test", "malformed"),
        ('"a@demo.test', "malformed"),
        ('"a"b@demo.test', "malformed"),
        ('""@demo.test', "empty"),
        ("\ud800@demo.test", "not text"),
        ("a" * 65 + "@demo.test", "at most 64 octets"),
        ("ç" * 33 + "@demo.test", "at most 64 octets"),
        ("\u0149" * 32 + "@demo.test", "at most 64 octets"),  # folds into two letters, three octets
        ("a@" + "b" * 64 + ".test", "not a domain name"),
        ("a@" + "b." * 126 + "b", "at most 254 octets"),
        ("a@demo..test", "not a domain name"),
        ("a@demo.test..", "not a domain name"),
        ("a@.", "not a domain name"),
        ("a@-demo.test", "not a domain name"),
        ("a@de mo.test", "not a domain name"),
        ("a@müze\u200b..test", "not a domain name"),
        ("a@xn--\xff.test", "not a domain name"),
        ("a@xn--zzzzzzz99.test", "not a domain name"),
        ("a@[192.0.2.256]", "not an address literal"),
        ("a@[192.0.2.1", "not an address literal"),
        ("a@[fe80::1%x y>]", "not an address literal"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        Address.parse(text)


@given(TEXT, st.booleans())
def test_what_is_written_reads_back_as_the_same(local: str, quoted: bool) -> None:
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    try:
        address = Address.parse(f'"{escaped}"@demo.test' if quoted else f"{local}@demo.test")
    except AddressError:
        return
    assert Address.parse(str(address)) == address


@given(TEXT)
def test_a_local_key_is_its_own_key_and_knows_no_normal_forms(local: str) -> None:
    key = normal_local(local)
    assert normal_local(key) == key
    for form in ("NFC", "NFD"):
        assert normal_local(unicodedata.normalize(form, local)) == key


@given(st.text(max_size=30) | st.from_regex(r"[a-zçğıöşüß-]{1,9}\.(xn--)?[a-z0-9]{2,9}\.?", fullmatch=True))
def test_a_domain_key_is_its_own_key(name: str) -> None:
    try:
        key = normal_domain(name)
    except AddressError:
        return
    assert key.isascii()
    assert key == key.lower()
    assert normal_domain(key) == key
    assert normal_domain(key.upper()) == key
    assert normal_domain(shown_domain(key)) == key


def test_the_longest_domain() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert normal_domain(longest) == longest
    with pytest.raises(AddressError):
        normal_domain(longest + "a")


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("demo.test", True),
        ("a.b.xn--mze-hoa", True),
        ("localhost", False),
        ("192.0.2.1", False),
        ("demo.t_st", False),
        ("demo.test.", False),
        ("", False),
    ],
)
def test_names_that_can_have_an_mx(name: str, public: bool) -> None:
    assert is_public_name(name) is public


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("ayse+list@demo.test", "ayse@demo.test"),
        ("ayse+a+b@demo.test", "ayse@demo.test"),
        ("ayse@demo.test", "ayse@demo.test"),
        ("+list@demo.test", "+list@demo.test"),
        ("a.+b@demo.test", '"a."@demo.test'),
    ],
)
def test_without_its_tag(text: str, bare: str) -> None:
    assert str(Address.parse(text).without_tag()) == bare


def test_on_the_wire_to_a_peer_without_smtputf8() -> None:
    address = Address.parse("ayse@müze.test")
    assert address.is_ascii
    assert address.for_wire() == "ayse@müze.test"
    assert address.for_wire(smtputf8=False) == "ayse@xn--mze-hoa.test"
    assert not Address.parse("çiğdem@müze.test").is_ascii
