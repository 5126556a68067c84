"""Names as an operator types them: which domains and mailboxes can be hosted."""

from __future__ import annotations

from postane.core.address import Address, is_public_name, normal_domain
from postane.core.errors import AddressError
from postane.filters.auth.public_suffix import by_list


def domain_name(text: str) -> str:
    """A domain that can be hosted, as A-labels. Raises AddressError."""
    name = normal_domain(text.strip())
    if not is_public_name(name):
        raise AddressError(
            f"{text!r} is no domain that can have mail: it needs two labels or more, such as example.org"
        )
    return name


def own_domain(text: str, state: str | None = None) -> str:
    """As `domain_name`, and one that somebody can own: no public suffix, such as co.uk. Raises AddressError.

    `state` is the folder in which a newer list of them may lie.
    """
    name = domain_name(text)
    if not by_list(state)(name):
        raise AddressError(f"{text!r} is a public suffix: it belongs to everybody who registers below it")
    return name


def mailbox_address(text: str) -> Address:
    """An address that can be a mailbox or an alias here: its local part is also a folder name. Raises AddressError."""
    address = Address.parse(text.strip())
    domain_name(address.domain)
    local = address.key_local
    if local.startswith((".", "-", "~")) or "/" in local or "*" in local:
        raise AddressError(f"{text!r}: a mailbox name does not begin with . - ~ and has no / or *")
    if not local.isprintable():  # spaces that look like others, joiners, marks that turn the direction of writing
        raise AddressError(f"{text!r}: a mailbox name has only characters that can be seen")
    if any(char.isspace() or char in '"\\:;<>@,()[]%' for char in local):
        raise AddressError(f'{text!r}: a mailbox name has no spaces and none of " \\ : ; < > @ , ( ) [ ] %')
    return address
