"""Bounds on the work that one message may cost: what is over one of them ends the look at the message."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from msgspec import Struct


class BoundError(Exception):
    """A bound is passed; its text names it for the operator."""


class DamagedError(Exception):
    """A container that claims to be one and cannot be read."""


class LaterError(Exception):
    """More work than should be done in the event loop."""


class Bounds(Struct, frozen=True):
    """`header` and `archive_octets` are octets; `ratio` is unpacked to packed, of what unpacks to over 10 MB."""

    parts: int = 1000
    depth: int = 50
    header: int = 256 * 1024
    members: int = 5000
    archive_depth: int = 4
    archive_octets: int = 200_000_000
    ratio: int = 200
    seconds: float = 8.0


_TEXT = 256 * 1024  # characters of names that are remembered of one message
_FEW = 10_000_000  # octets; what is not larger unpacked is no bomb


@dataclass(slots=True)
class Budget:
    """`until` is a time of time.monotonic(). `light`: containers are left for later, see LaterError."""

    bounds: Bounds
    until: float
    light: bool = False
    parts: int = 0
    members: int = 0
    unpacked: int = 0
    text: int = 0
    _steps: int = field(default=0, repr=False)

    @classmethod
    def of(cls, bounds: Bounds, *, light: bool = False) -> Budget:
        return cls(bounds, time.monotonic() + bounds.seconds, light)

    def clock(self) -> None:
        """Raises BoundError when the time is over."""
        if time.monotonic() > self.until:
            if self.light:
                raise LaterError
            raise BoundError(f"it takes over {self.bounds.seconds:g} s")

    def step(self, weight: int = 1) -> None:
        """For loops whose length a message decides: looks at the clock now and then."""
        self._steps += weight
        if self._steps >= 500:
            self._steps = 0
            self.clock()

    def heavy(self) -> None:
        """Called before a container is looked into."""
        if self.light:
            raise LaterError

    def part(self, depth: int) -> None:
        self.parts += 1
        if self.parts > self.bounds.parts:
            raise BoundError(f"over {self.bounds.parts} parts")
        if depth > self.bounds.depth:
            raise BoundError(f"parts nest over {self.bounds.depth} deep")
        self.clock()

    def member(self) -> None:
        self.members += 1
        if self.members > self.bounds.members:
            raise BoundError(f"over {self.bounds.members} members in archives")
        self.step(10)

    def nested(self, depth: int) -> None:
        if depth > self.bounds.archive_depth:
            raise BoundError(f"archives nest over {self.bounds.archive_depth} deep")
        self.clock()

    def unpack(self, octets: int) -> None:
        """So many octets came out of an archive."""
        self.unpacked += octets
        if self.unpacked > self.bounds.archive_octets:
            raise BoundError(f"archives unpack to over {self.bounds.archive_octets} octets")
        self.step(1 + octets // 65536)

    def declared(self, packed: int, unpacked: int) -> None:
        """An archive says so of a member. Raises BoundError for a bomb."""
        if unpacked > self.bounds.archive_octets:
            raise BoundError(f"archives unpack to over {self.bounds.archive_octets} octets")
        self.ratio(packed, unpacked)

    def ratio(self, packed: int, unpacked: int) -> None:
        if unpacked > _FEW and unpacked > max(packed, 1) * self.bounds.ratio:
            raise BoundError(f"an archive unpacks to over {self.bounds.ratio} times its size")

    def named(self, characters: int) -> None:
        self.text += characters
        if self.text > _TEXT:
            raise BoundError(f"names of over {_TEXT} characters")
