"""Whose settings a request asks for: the domain of an address, or of the name it was sent to. Pure.

Whatever cannot be a hosted domain is None, never an error that tells more: all of it gets the same answer.
"""

from __future__ import annotations

import re

from postane.core.address import Address, is_public_name, normal_domain
from postane.core.errors import AddressError

# The names under which mail programs look, in front of a hosted domain.
LABELS = ("autoconfig", "autodiscover", "mta-sts", "ua-auto-config")

MOST = 320  # characters of an address or a name: anything longer is not looked at

# What XML 1.0 has no place for (section 2.2), beside the controls that no address holds.
_NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def domain_of_address(text: str) -> str | None:
    """The domain (A-labels) of `local@domain`; the local part is not looked at."""
    local, _, domain = text.strip().rpartition("@")
    return _domain(domain) if local and len(text) <= MOST else None


def domain_of_host(host: str, label: str = "") -> str | None:
    """The domain of a Host header: `autoconfig.example.org:80` asks for example.org.

    With `label` only that name in front will do; without, any of LABELS may be there, or none.
    """
    if len(host) > MOST:
        return None
    name = host.strip().lower().partition(":")[0].removesuffix(".")
    first, _, rest = name.partition(".")
    if label:
        return _domain(rest) if first == label else None
    return _domain(rest if first in LABELS else name)


def mailbox(text: str) -> Address | None:
    """The address whose program asks, if it can be one."""
    if len(text) > MOST or _NOT_IN_XML.search(text):
        return None
    try:
        address = Address.parse(text.strip())
    except AddressError:
        return None
    return address if is_public_name(address.key_domain) else None


def _domain(text: str) -> str | None:
    try:
        name = normal_domain(text)
    except AddressError:
        return None
    return name if is_public_name(name) else None
