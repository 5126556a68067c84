"""What every verb starts from: the configuration and the database it names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.config.load import load
from postane.config.model import Config
from postane.core.address import Address, is_public_name, normal_domain, shown_domain
from postane.core.errors import AddressError, NotFoundError
from postane.storage.engine import Database
from postane.storage.place import url_of
from postane.storage.schema import Domain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The answer of a verb that may change something: whether it did, how the thing is now, and whether it is new."""

    changed: bool
    item: T
    made: bool = False


class Site:
    """One host's configuration and directory."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def at(cls, path: Path) -> Site:
        return cls(load(path))

    @cached_property
    def database(self) -> Database:
        return Database(url_of(self.config))


def domain_name(text: str) -> str:
    """A domain that can be hosted, as A-labels. Raises AddressError."""
    name = normal_domain(text.strip())
    if not is_public_name(name):
        raise AddressError(
            f"{text!r} is no domain that can have mail: it needs two labels or more, such as example.org"
        )
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


def hosted_domain(session: Session, name: str) -> Domain:
    """The row of a hosted domain. Raises NotFoundError that says what to do."""
    domain = session.scalar(select(Domain).where(Domain.name == name))
    if domain is None:
        raise NotFoundError(f"{shown_domain(name)} is not hosted here", hint=f"postane domain add {shown_domain(name)}")
    return domain
