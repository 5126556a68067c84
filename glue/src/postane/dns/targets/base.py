"""Where records are put: what every target can do, and the help for doing it to many zones.

A change names what it removes, what it adds, and what it found (`before`): a target that sees something else there
refuses with WorldChangedError and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from postane.core.errors import ConflictError, PostaneError, TemporaryError
from postane.dns.records import Record, canonical

AT_ONCE = 16  # zones of one target

T = TypeVar("T")


class WorldChangedError(ConflictError):
    """What stands there is not what the change was made for."""


class HalfDoneError(TemporaryError):
    """Some of a change is there, some is not, or it is not known: the next run looks, and does the rest."""


@dataclass(frozen=True, slots=True)
class Change:
    """`before`: all records at the names and types that `remove` and `add` touch; None: whatever stands there."""

    zone: str
    remove: tuple[Record, ...] = ()
    add: tuple[Record, ...] = ()
    before: tuple[Record, ...] | None = None


class Target(Protocol):
    """`writable` is False where a person has to do it; `whole_zones` is True for a server that has a zone for each
    domain, with nothing in it but what Postane put there. `text_limit`: longest TXT it takes, 0 for any; `least_ttl`:
    shortest TTL, seconds; `types`: those of records that it can hold, None for all.
    """

    name: str
    writable: bool
    whole_zones: bool
    text_limit: int
    least_ttl: int

    @property
    def types(self) -> frozenset[str] | None: ...

    async def read(self, zone: str) -> list[Record] | None:
        """What the zone holds, without signatures; None where it cannot be known. Raises ServiceMissingError."""
        ...

    async def apply(
        self,
        zone: str,
        remove: Sequence[Record],
        add: Sequence[Record],
        before: Sequence[Record] | None = None,
    ) -> None:
        """All of it or nothing, as far as the target can.

        Raises WorldChangedError, NotAllowedError (a key without rights), ServiceMissingError.
        """
        ...


@runtime_checkable
class ManyAtOnce(Protocol):
    """A target that is much quicker with many zones than with each of them."""

    async def read_many(self, zones: Sequence[str]) -> dict[str, list[Record] | None]: ...

    async def apply_many(self, changes: Sequence[Change]) -> dict[str, PostaneError | None]: ...


async def read_many(
    target: Target, zones: Sequence[str], told: Callable[[str], None] = lambda _: None
) -> dict[str, list[Record] | PostaneError | None]:
    """What each zone holds, or why it cannot be read. `told` hears of each that is done, where they are read singly."""
    if isinstance(target, ManyAtOnce):
        try:
            return {**await target.read_many(zones)}
        except PostaneError as error:
            return dict.fromkeys(zones, error)
    found: dict[str, list[Record] | PostaneError | None] = {}

    async def one(zone: str) -> None:
        try:
            found[zone] = await target.read(zone)
        except PostaneError as error:
            found[zone] = error
        told(zone)

    await _each(zones, one)
    return found


async def apply_many(target: Target, changes: Sequence[Change]) -> dict[str, PostaneError | None]:
    """Each zone with why it was not changed, None where it was."""
    if isinstance(target, ManyAtOnce):
        return await target.apply_many(changes)
    done: dict[str, PostaneError | None] = {}

    async def one(change: Change) -> None:
        try:
            await target.apply(change.zone, change.remove, change.add, change.before)
        except PostaneError as error:
            done[change.zone] = error
        else:
            done[change.zone] = None

    await _each(changes, one)
    return done


def check(change: Change, standing: Sequence[Record]) -> None:
    """Raises WorldChangedError if the touched sets are not as they were planned."""
    if change.before is None:
        return
    sets = {(one.name, one.type) for one in (*change.remove, *change.add)}
    now = {canonical(one) for one in standing if (one.name, one.type) in sets}
    then = {canonical(one) for one in change.before}
    if now != then:
        name, kind, _ = min(now ^ then)
        raise WorldChangedError(
            f"{name} {kind} has changed since the plan was made", hint="plan again, and look at what changed"
        )


async def _each(items: Sequence[T], do: Callable[[T], Awaitable[None]]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> None:
        async with turns:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
