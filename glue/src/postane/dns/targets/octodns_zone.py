"""Between our records and those of octoDNS: the one doorway to its model. Pure, but for the provider's own checks.

octoDNS keeps one object for all records of a name and type. Of a set that is changed, the values that are not ours go
back as the very objects that came: they are never read and written anew. All other sets are left out of the plan, so
that no provider hears of them.

octoDNS stops a plan that deletes more than 30 % of a zone. That guard is for plans that are made of a whole zone's
file, where a lost file looks like a wish; here each record was named one by one, and is compared with what stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from octodns.provider import SupportsException
from octodns.provider.plan import Plan
from octodns.record import Create, Delete, Update
from octodns.record import Record as Theirs
from octodns.record.exception import RecordException, ValidationError
from octodns.record.rr import Rrset
from octodns.zone import Zone

from postane.core.errors import PermanentError
from postane.dns.records import Record, canonical
from postane.dns.targets.base import Change, WorldChangedError

# Providers write backslashes, quotes and what is not ASCII each in their own way, and read them back in another.
_FRAGILE = re.compile(r'[^\x20-\x7e]|"|\\(?!;)')

Standing = dict[tuple[str, str], Any]
"""octoDNS's records by our names and types."""


def new_zone(zone: str) -> Zone:
    """`zone` in A-labels."""
    return Zone(f"{zone}.", [])


def records_of(zone: Zone) -> list[Record]:
    """What a zone that was read holds; pseudo-records of providers (redirections, …) are none of the DNS."""
    return sorted(record for one in zone.records for record in _records(one))


def make_plan(provider: Any, zone: Zone, change: Change) -> Plan:
    """What `provider.apply` takes: the sets of the change alone. `zone` is as it was read just now.

    Raises PermanentError for what the provider or octoDNS does not take, WorldChangedError.
    """
    standing: Standing = {(_name(one), one._type): one for one in zone.records}
    _alias_stands_alone(change, standing)
    after = zone.copy()
    changes: list[Any] = []
    for name, kind in sorted({(one.name, one.type) for one in (*change.remove, *change.add)}):
        now = standing.get((name, kind))
        new = _new_set(provider, zone, change, name, kind, now)
        if now is None and new is not None:
            changes.append(Create(new))
        elif now is not None and new is None:
            changes.append(Delete(now))
        elif now is not None and (now.ttl != new.ttl or _values(now) != _values(new)):
            changes.append(Update(now, new))
        if new is not None:
            after.add_record(new, replace=True, lenient=True)
        elif now is not None:
            after.remove_record(now)
    # What the provider rounds off by itself (a least TTL) is no change.
    return Plan(zone, after, [one for one in changes if provider._include_change(one)], exists=True)


def _new_set(provider: Any, zone: Zone, change: Change, name: str, kind: str, now: Any) -> Any:
    """The set as it will be; None: it goes."""
    if kind in ("SOA", "NS") and name == change.zone:
        raise PermanentError(f"{name} {kind} is the provider's, and is never changed by Postane")
    if getattr(now, "dynamic", None) or getattr(now, "geo", None):
        raise PermanentError(
            f"{name} {kind} answers each asker differently (geo or pool), and is left alone",
            hint="change it where it was made",
        )
    gone = {canonical(one) for one in change.remove}
    add = [one for one in change.add if (one.name, one.type) == (name, kind)]
    kept = [value for value, one in _pairs(now) if canonical(one) not in gone]
    if kept and kind in ("TXT", "SPF"):
        _refuse_fragile(name, kept)
    if not add:
        return now.copy(values=kept) if kept else None
    fresh = _checked(provider, zone, name, kind, add)
    if now is None or not kept:
        return fresh
    new = now.copy(values=[*kept, *(value for value in _values(fresh) if value not in kept)])
    new.ttl = add[0].ttl
    return new


def _checked(provider: Any, zone: Zone, name: str, kind: str, add: Sequence[Record]) -> Any:
    """octoDNS's record of ours, as the provider says that it takes it."""
    try:
        made = Theirs.from_rrset(zone, Rrset(f"{name}.", kind, add[0].ttl, [one.data for one in add]))
        alone = Zone(zone.name, [])
        alone.add_record(made)
        found = list(provider._process_desired_zone(alone).records)
    except (ValidationError, RecordException, SupportsException, ValueError) as error:
        why = " ".join(str(error).split())
        raise PermanentError(f"octoDNS does not take {name} {kind} for this provider: {why}") from error
    if not found:
        raise PermanentError(f"this octoDNS provider cannot hold {name} {kind}")
    return found[0]


def _alias_stands_alone(change: Change, standing: Standing) -> None:
    """RFC 1034 section 3.6.2; what came there since the plan was made is somebody else's."""
    gone = {canonical(one) for one in change.remove}
    for record in change.add:
        for (name, kind), there in standing.items():
            clash = name == record.name and kind != record.type and "CNAME" in (kind, record.type)
            if clash and any(canonical(one) not in gone for one in _records(there)):
                raise WorldChangedError(
                    f"{name} {kind} stands where {record.type} should", hint="plan again, and look at what changed"
                )


def _refuse_fragile(name: str, kept: Iterable[Any]) -> None:
    for value in kept:
        if _FRAGILE.search(str(value)):
            raise PermanentError(
                f"beside ours stands a TXT record of somebody else at {name} with signs that octoDNS may garble "
                "(a quote, a backslash, or no ASCII)",
                hint=f"put our record at {name} in by hand, or take that other one away",
            )


def _records(record: Any) -> list[Record]:
    return [one for _, one in _pairs(record)]


def _pairs(record: Any) -> list[tuple[Any, Record]]:
    """Each value with the record that it is for us."""
    if record is None:
        return []
    try:
        texts = record.to_rrset().rdatas
    except (AttributeError, NotImplementedError, RecordException):
        return []
    return [
        (value, Record(_name(record), record._type, text, record.ttl))
        for value, text in zip(_values(record), texts, strict=True)
    ]


def _values(record: Any) -> list[Any]:
    return list(record.values) if hasattr(record, "values") else [record.value]


def _name(record: Any) -> str:
    return str(record.fqdn).rstrip(".").lower()
