"""The name server of this host as a target: zones come into its catalog by themselves, many are changed at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from postane.core.errors import PostaneError
from postane.dns.authority import SIGNING
from postane.dns.knot import Knot
from postane.dns.records import Plan, Record
from postane.dns.targets.base import Change, check

BATCH = 100  # zones of one transaction: where one is refused, none of them is changed


class KnotTarget:
    """`apex` gives the SOA and NS records of a zone that is new here."""

    writable = True
    whole_zones = True
    least_ttl = 0
    types = None

    def __init__(self, name: str, knot: Knot, apex: Callable[[str], Sequence[Record]], text_limit: int = 0) -> None:
        self.name = name
        self.text_limit = text_limit
        self._knot = knot
        self._apex = apex
        # Read once for all batches of a run: the catalog is as long as there are domains.
        self._members: dict[str, str] | None = None

    async def read(self, zone: str) -> list[Record] | None:
        return (await self.read_many([zone]))[zone]

    async def apply(
        self, zone: str, remove: Sequence[Record], add: Sequence[Record], before: Sequence[Record] | None = None
    ) -> None:
        change = Change(zone, tuple(remove), tuple(add), None if before is None else tuple(before))
        if error := (await self.apply_many([change]))[zone]:
            raise error

    async def read_many(self, zones: Sequence[str]) -> dict[str, list[Record] | None]:
        return await asyncio.to_thread(self._read, zones)

    async def apply_many(self, changes: Sequence[Change]) -> dict[str, PostaneError | None]:
        return await asyncio.to_thread(self._apply, changes)

    def _read(self, zones: Sequence[str]) -> dict[str, list[Record] | None]:
        members = self._members = self._knot.members()
        served = self._knot.read([zone for zone in zones if zone in members])
        return {zone: [one for one in served.get(zone, ()) if one.type not in SIGNING] for zone in zones}

    def _apply(self, changes: Sequence[Change]) -> dict[str, PostaneError | None]:
        done: dict[str, PostaneError | None] = {}
        for start in range(0, len(changes), BATCH):
            batch = changes[start : start + BATCH]
            try:
                done |= self._apply_batch(batch)
            except PostaneError as error:
                self._members = None
                if len(batch) == 1:
                    done[batch[0].zone] = error
                    continue
                # One of them spoilt it for all.
                half = len(batch) // 2
                done |= self._apply(batch[:half])
                done |= self._apply(batch[half:])
        return done

    def _apply_batch(self, changes: Sequence[Change]) -> dict[str, PostaneError | None]:
        zones = [change.zone for change in changes]
        members = self._members = self._members or self._knot.members()
        standing = self._knot.read([zone for zone in zones if zone in members])
        done: dict[str, PostaneError | None] = {}
        good: list[Change] = []
        for change in changes:
            try:
                check(change, standing.get(change.zone, ()))
            except PostaneError as error:
                done[change.zone] = error
            else:
                good.append(change)
        new = [change.zone for change in good if change.zone not in members]
        if new:
            self._knot.change_members(new, {})
            self._members = members | dict.fromkeys(new, "")
        plans = []
        for change in good:
            has = any(one.type == "SOA" for one in standing.get(change.zone, ()))
            apex = () if has else tuple(self._apex(change.zone))
            plans.append(Plan(change.zone, change.remove, (*apex, *change.add)))
        self._knot.apply(plans)
        return done | dict.fromkeys((change.zone for change in good), None)
