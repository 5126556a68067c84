"""Key records one by one are judged in test_dkim.py through whole signatures; here what asks for them."""

from __future__ import annotations

import asyncio

import pytest

from postane.filters.auth.dkim_key import RefusedError, fetch, name_of, read
from support.signing import SILENT, Zone, ed25519_key, record, rsa_key


def test_each_name_is_asked_for_once_and_judged_for_each_algorithm() -> None:
    at = Zone({"a": [record(rsa_key())], "b": SILENT})
    found = asyncio.run(fetch([("a", "rsa"), ("a", "ed25519"), ("a", "rsa"), ("b", "rsa"), ("c", "rsa")], at.ask))
    assert at.asked == ["a", "b", "c"]
    assert isinstance(found["a", "rsa"], tuple)
    for pair, result in ((("a", "ed25519"), "permerror"), (("b", "rsa"), "temperror"), (("c", "rsa"), "permerror")):
        answer = found[pair]
        assert isinstance(answer, RefusedError)
        assert answer.result == result


def test_a_name_is_made_of_a_selector_and_a_domain() -> None:
    assert name_of("s1.Sub", "example.org") == "s1.sub._domainkey.example.org"
    assert name_of("s_1", "xn--mze-hoa.example") == "s_1._domainkey.xn--mze-hoa.example"
    for selector in ("", "..", "a b", "a" * 64, ".".join("a" * 60 for _ in range(4))):
        with pytest.raises(RefusedError):
            name_of(selector, "example.org")


def test_an_ed25519_key_has_32_octets() -> None:
    assert read(record(ed25519_key()), "ed25519")
    with pytest.raises(RefusedError):
        read("k=ed25519; p=AAAA", "ed25519")
    with pytest.raises(RefusedError):
        read(record(rsa_key()).replace("k=rsa", "k=ed25519"), "ed25519")


def test_a_key_verifies_only_what_it_signed() -> None:
    import hashlib

    key = read(record(ed25519_key()), "ed25519")
    text, tent = (hashlib.sha256(word).digest() for word in (b"text", b"tent"))
    signature = ed25519_key().sign(text)
    assert key.verifies(signature, text)
    assert not key.verifies(signature, tent)
    assert not key.verifies(b"short", text)
    assert not read(record(rsa_key()), "rsa").verifies(b"", text)
