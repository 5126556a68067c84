"""Whose settings are asked for; whatever cannot be a hosted domain is None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.clients.asked import domain_of_address, domain_of_host, mailbox


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("ayse@demo.test", "demo.test"),
        (" Ayse@DEMO.Test. ", "demo.test"),
        ("a b@demo.test", "demo.test"),  # the local part is not looked at
        ("çiğdem@müze.example", "xn--mze-hoa.example"),
        ("x@xn--mze-hoa.example", "xn--mze-hoa.example"),
        ("%EMAILADDRESS%", None),
        ("@demo.test", None),
        ("demo.test", None),
        ("x@demo", None),
        ("x@", None),
        ("x@[192.0.2.1]", None),
        ("x@192.0.2.1", None),
        ("x@a..test", None),
        ("x@demo.test\0", None),
        (f"{'x' * 400}@demo.test", None),
        ("", None),
    ],
)
def test_the_domain_of_an_address(address: str, domain: str | None) -> None:
    assert domain_of_address(address) == domain


@pytest.mark.parametrize(
    ("host", "label", "domain"),
    [
        ("autoconfig.demo.test", "", "demo.test"),
        ("Autoconfig.Demo.Test.:8080", "", "demo.test"),
        ("demo.test:2080", "", "demo.test"),
        ("mta-sts.demo.test", "mta-sts", "demo.test"),
        ("autoconfig.demo.test", "mta-sts", None),
        ("demo.test", "mta-sts", None),
        ("mta-sts.mta-sts.demo.test", "mta-sts", "mta-sts.demo.test"),
        ("autoconfig.xn--mze-hoa.example", "", "xn--mze-hoa.example"),
        ("autoconfig.test", "", None),
        ("127.0.0.1:2080", "", None),
        ("[::1]:80", "", None),
        ("", "", None),
        ("a" * 500, "", None),
    ],
)
def test_the_domain_of_a_host(host: str, label: str, domain: str | None) -> None:
    assert domain_of_host(host, label) == domain


@pytest.mark.parametrize(
    "text", ["", "x", "x@y", "x@[192.0.2.1]", "x\uffff@demo.test", "x\x00@demo.test", "x y@demo.test"]
)
def test_no_mailbox(text: str) -> None:
    assert mailbox(text) is None


def test_a_mailbox() -> None:
    found = mailbox("Çiğdem@müze.example")
    assert found is not None
    assert found.key == "çiğdem@xn--mze-hoa.example"


@given(st.text(max_size=400))
def test_nothing_raises(text: str) -> None:
    for found in (domain_of_address(text), domain_of_host(text), domain_of_host(f"mta-sts.{text}", "mta-sts")):
        assert found is None or (found.isascii() and "." in found)
    mailbox(text)
