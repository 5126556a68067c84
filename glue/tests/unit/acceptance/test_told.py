"""What is read of settings, from what the platform itself makes of its model."""

from __future__ import annotations

import plistlib
from collections.abc import Callable
from typing import Any

import pytest

from postane.acceptance.result import FailedError
from postane.acceptance.told import Told, from_autoconfig, from_pox, from_profile
from postane.clients.autoconfig import autoconfig
from postane.clients.autodiscover import settings
from postane.clients.mobileconfig import profile
from postane.clients.model import Setup, make_setup
from postane.config.model import Config
from postane.core.address import Address

DOMAINS = pytest.mark.parametrize("domain", ["demo.test", "xn--mze-hoa.example"])


def model(domain: str) -> Setup:
    return make_setup(domain, Config(host="mail.host.test"))


def told(*doors: str) -> set[Told]:
    """`imap 993 tls`, of the host."""
    return {Told(name, "mail.host.test", int(port), security) for name, port, security in map(str.split, doors)}


@DOMAINS
def test_autoconfig(domain: str) -> None:
    octets = autoconfig(model(domain))
    every = told("imap 993 tls", "pop3 995 tls", "smtp 465 tls", "smtp 587 starttls")
    assert from_autoconfig(octets, f"a@{domain}") == every
    with pytest.raises(FailedError, match="other_login"):
        from_autoconfig(octets.replace(b"%EMAIL", b"%REAL"), f"a@{domain}")
    assert from_autoconfig(octets.replace(b"993", b"143"), f"a@{domain}") != every
    assert from_autoconfig(octets.replace(b"STARTTLS", b"plain"), f"a@{domain}") != every


@DOMAINS
def test_autodiscover(domain: str) -> None:
    octets = settings(model(domain), Address.parse(f"a@{domain}"))
    assert from_pox(octets) == told("imap 993 tls", "pop3 995 tls", "smtp 465 tls")


@DOMAINS
def test_a_profile(domain: str) -> None:
    octets = profile(model(domain), Address.parse(f"a@{domain}"))
    assert from_profile(b"\x30\x82signed" + octets + b"\x00signature") == told("imap 993 tls", "smtp 465 tls")


def changed(**values: Any) -> bytes:
    found = plistlib.loads(profile(model("demo.test"), Address.parse("a@demo.test")))
    found["PayloadContent"][0] |= values
    return plistlib.dumps(found)


def test_a_profile_with_a_password_is_none() -> None:
    with pytest.raises(FailedError, match="holds_password"):
        from_profile(changed(IncomingPassword="secret"))
    assert from_profile(changed(IncomingMailServerUseSSL=False)) != from_profile(changed())


@pytest.mark.parametrize("octets", [b"", b"<html>", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'])
def test_what_cannot_be_read(octets: bytes) -> None:
    reads: tuple[Callable[[], object], ...] = (
        lambda: from_autoconfig(octets, "a@demo.test"),
        lambda: from_pox(octets),
        lambda: from_profile(octets),
    )
    for read in reads:
        with pytest.raises(FailedError, match="unreadable"):
            read()
