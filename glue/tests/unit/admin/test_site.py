"""Which names may become domains and mailboxes here."""

from __future__ import annotations

import pytest

from postane.admin.names import domain_name, mailbox_address
from postane.core.errors import AddressError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("demo.test", "demo.test"),
        (" Demo.TEST. ", "demo.test"),
        ("müze.example", "xn--mze-hoa.example"),
        ("XN--MZE-HOA.example", "xn--mze-hoa.example"),
        ("a.b.c.demo.test", "a.b.c.demo.test"),
    ],
)
def test_domains(text: str, name: str) -> None:
    assert domain_name(text) == name


@pytest.mark.parametrize(
    "text", ["", ".", "localhost", "192.0.2.1", "[192.0.2.1]", "demo..test", "_dmarc.demo.test", "a/b.test", "x@y.test"]
)
def test_no_domains(text: str) -> None:
    with pytest.raises(AddressError):
        domain_name(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Ayse@Demo.test", "ayse@demo.test"),
        ("çiğdem@demo.test", "çiğdem@demo.test"),
        ("ayse+list@demo.test", "ayse+list@demo.test"),
        ("o'neil@demo.test", "o'neil@demo.test"),
        ("postmaster@demo.test", "postmaster@demo.test"),
        ('"ayse"@demo.test', "ayse@demo.test"),
        ("ayşe@müze.example", "ayşe@xn--mze-hoa.example"),
    ],
)
def test_mailboxes(text: str, key: str) -> None:
    assert mailbox_address(text).key == key


@pytest.mark.parametrize(
    "local",
    [
        "../x",
        "a/b",
        '".a"',
        "-a",
        "~a",
        "a%b",
        "*",
        '"a b"',
        '"a:b"',
        r'"a\\b"',
        '"a@b"',
        "a\u200bb",
        "a\u202eb",
        "a\xa0b",
    ],
)
def test_no_mailboxes(local: str) -> None:
    """The name is a folder, a word in Dovecot's configuration, and something people read."""
    with pytest.raises(AddressError):
        mailbox_address(f"{local}@demo.test")
