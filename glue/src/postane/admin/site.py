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
from postane.core.address import shown_domain
from postane.core.errors import NotFoundError
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


def hosted_domain(session: Session, name: str) -> Domain:
    """The row of a hosted domain. Raises NotFoundError that says what to do."""
    domain = session.scalar(select(Domain).where(Domain.name == name))
    if domain is None:
        raise NotFoundError(f"{shown_domain(name)} is not hosted here", hint=f"postane domain add {shown_domain(name)}")
    return domain
