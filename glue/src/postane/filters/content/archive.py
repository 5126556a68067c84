"""What archives have in common: members with names, marks, and a way to their octets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

ENCRYPTED = "encrypted"
UNREADABLE = "unreadable"
MACROS = "macros"


@dataclass(frozen=True, slots=True)
class Member:
    """`names` as they stand in the archive. `read` gives the octets, from their start; None: they cannot be had.

    What `read` gives may raise BoundError and DamagedError.
    """

    names: tuple[bytes, ...] = ()
    marks: frozenset[str] = frozenset()
    read: Callable[[], Iterator[bytes]] | None = None
