"""What the records of hosted domains follow from: configuration, directory, and the host's own certificate.

A domain's own settings go before those of the configuration. Many domains are read in a few questions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin import host_key
from postane.admin.clients import setup_in
from postane.admin.names import domain_name
from postane.admin.site import Change, Site, hosted_domain
from postane.clients import mta_sts, pacc
from postane.core.address import normal_domain
from postane.core.errors import AddressError, ConfigError, NotFoundError
from postane.directory.key import Key
from postane.dns.records import Record, canonical
from postane.domains.desired import Facts, Service
from postane.domains.kinds import Kind, chosen
from postane.domains.life import OldMx, State, mail_state
from postane.domains.plan import Owned
from postane.domains.rollover import Keys
from postane.storage.schema import DkimKey, Domain, OwnedRecord

_AT_ONCE = 500  # names in one question to the database

Row = TypeVar("Row", DkimKey, OwnedRecord)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A domain's own wishes; "" or 0 leaves it to the configuration. In the directory as JSON (domains.settings).

    `plan` is the provider's name for what it pays for: told in reports, nothing follows from it here.
    """

    plan: str = ""
    spf: str = ""
    dmarc: Literal["", "none", "quarantine", "reject"] = ""
    dmarc_reports: str = ""
    tls_reports: str = ""
    mta_sts: Literal["", "off", "none", "testing", "enforce"] = ""
    delegation: str = ""
    ttl: Annotated[int, msgspec.Meta(ge=0)] = 0
    repair: Literal["", "on", "off"] = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A hosted domain as the directory has it. `id` is its row, `target` the name of the target, "" for the default.

    `zone` is another one than the domain's own: the provider's, that the domain's CNAMEs lead into; `owned` is what is
    ours there.
    """

    id: int
    facts: Facts
    target: str
    owned: tuple[Owned, ...]
    zone: str = ""


@dataclass(frozen=True, slots=True)
class DomainDns:
    """What a domain has of its own; "" or [] leaves it to the configuration."""

    domain: str
    target: str
    kinds: tuple[str, ...]
    settings: Settings


def known(site: Site, names: Sequence[str] | None) -> list[Known]:
    """The domains of these names (A-labels), in this order; None: all that are hosted. Raises NotFoundError."""
    with site.database.session() as session:
        rows = _rows(session, names)
        ids = [row.id for row in rows]
        keys = _grouped(session, DkimKey, ids)
        owned = _grouped(session, OwnedRecord, ids)
        tlsa = host_key.keys_of(site)
        return [
            Known(
                row.id,
                _facts(site, row, keys[row.id], tlsa, owned[row.id]),
                target_of(row),
                tuple(map(_owned, owned[row.id])),
            )
            for row in rows
        ]


def change(
    site: Site, name: str, target: str | None, kinds: Iterable[str] | None, settings: dict[str, object]
) -> Change[DomainDns]:
    """Sets what is named and leaves the rest. Raises ConfigError for an unknown target, kind or value."""
    with site.database.change() as session:
        return set_own(site, hosted_domain(session, domain_name(name)), target, kinds, settings)


def set_own(
    site: Site, row: Domain, target: str | None, kinds: Iterable[str] | None, settings: dict[str, object]
) -> Change[DomainDns]:
    """As `change`, of a row in a transaction of the caller's; a row that is refused stays as it is."""
    before = own_of(row)
    after = merged_own(site, before, target, kinds, settings)
    if after != before:
        row.settings = msgspec.json.encode(after.settings).decode()
        row.dns_target, row.kinds = after.target, " ".join(after.kinds)
    return Change(after != before, after)


def merged_own(
    site: Site, before: DomainDns, target: str | None, kinds: Iterable[str] | None, settings: dict[str, object]
) -> DomainDns:
    """What a domain has of its own once this is set. Raises as `change`."""
    if target and target not in site.config.dns.targets and target not in ("knot", "manual"):
        raise ConfigError(
            f"dns.targets has no {target!r}", hint=f"it has {', '.join(site.config.dns.targets) or 'none'}"
        )
    words = before.kinds if kinds is None else tuple(sorted(chosen(kinds)) if (kinds := list(kinds)) else [])
    try:
        merged = msgspec.convert(msgspec.to_builtins(before.settings) | settings, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{before.domain}: {error}") from error
    _spf(merged.spf)
    return DomainDns(before.domain, before.target if target is None else target, words, merged)


def foreseen(site: Site, row: Domain) -> Known:
    """What would be known of a domain that is in no database yet; it has no keys."""
    return Known(0, _facts(site, row, (), host_key.keys_of(site), ()), target_of(row), ())


def target_of(row: Domain) -> str:
    """Where its records are put; "" is the default.

    What proves a claim is put in by the owner: never by us, not even where the zone is ours to write.
    """
    return "manual" if row.state == State.CLAIMED else row.dns_target


def lies_in(name: str, zone: str) -> bool:
    return name == zone or name.endswith(f".{zone}")


def save_owned(
    session: Session,
    domain_id: int,
    target: str,
    owned: Iterable[Owned],
    within: str,
    written: Collection[Record] = (),
) -> None:
    """Makes these the domain's rows of all names in `within`; those that stay keep their time, unless they have just
    been `written`.
    """
    wanted = list(owned)
    just = set(map(canonical, written))
    for row in session.scalars(select(OwnedRecord).where(OwnedRecord.domain_id == domain_id)):
        if not lies_in(row.name, within):
            continue
        mine = _owned(row)
        if mine in wanted:
            wanted.remove(mine)
            if canonical(mine.record) in just:
                row.made_at = time.time()
        else:
            session.delete(row)
    for own in wanted:
        record = own.record
        row = OwnedRecord(domain_id=domain_id, kind=str(own.kind), name=record.name, type=record.type, data=record.data)
        row.ttl, row.words, row.target = record.ttl, " ".join(own.words), target
        session.add(row)


def _rows(session: Session, names: Sequence[str] | None) -> list[Domain]:
    if names is None:
        return list(session.scalars(select(Domain).where(Domain.active).order_by(Domain.name)))
    found: dict[str, Domain] = {}
    for start in range(0, len(names), _AT_ONCE):
        query = select(Domain).where(Domain.name.in_(names[start : start + _AT_ONCE]))
        found |= {row.name: row for row in session.scalars(query)}
    for name in names:
        if name not in found:
            raise NotFoundError(f"{name} is not hosted here", hint=f"postane domain add {name}")
    return [found[name] for name in dict.fromkeys(names)]


def _grouped(session: Session, table: type[Row], ids: Sequence[int]) -> dict[int, list[Row]]:
    """The rows of each domain."""
    found: dict[int, list[Row]] = defaultdict(list)
    for start in range(0, len(ids), _AT_ONCE):
        query = select(table).where(table.domain_id.in_(ids[start : start + _AT_ONCE])).order_by(table.id)
        for row in session.scalars(query):
            found[row.domain_id].append(row)
    return found


def _facts(site: Site, row: Domain, keys: Iterable[DkimKey], host_keys: Keys, records: Sequence[OwnedRecord]) -> Facts:
    config, own = site.config, settings_of(row)
    defaults = config.domains
    setup = setup_in(site, row)
    services = [Service(f"_{one.name}._tcp", one.port, one.priority, one.weight, one.host) for one in setup.services]
    services += [Service(f"_{name}._tcp", 0) for name in setup.missing]
    name, port = setup.url_host
    services.append(Service("_autodiscover._tcp", port, 0, 1, name))
    return Facts(
        domain=row.name,
        host=normal_domain(config.host),
        keys=tuple(
            (key.selector, Key.of("", row.name, key.selector, key.algorithm, key.public_key, True).record)
            for key in keys
            if key.active
        ),
        addresses=config.dns.addresses,
        state=mail_state(row.state, row.came_from),
        kinds=chosen(row.kinds.split() or defaults.kinds),
        spf=_spf(own.spf or defaults.spf),
        dmarc=own.dmarc or defaults.dmarc,
        dmarc_reports=own.dmarc_reports or defaults.dmarc_reports,
        mta_sts=setup.mta_sts.mode if setup.mta_sts else "off",
        mta_sts_id=mta_sts.policy_id(setup.mta_sts) if setup.mta_sts else "",
        tls_reports=own.tls_reports or defaults.tls_reports,
        issuers=defaults.issuers,
        tlsa=host_key.decided(site, host_keys, records, own.ttl or defaults.ttl).records,
        token=row.token if row.state == State.CLAIMED else "",
        delegation=_delegation(own.delegation or defaults.delegation, row.name),
        services=tuple(services),
        pacc=pacc.digest_text(setup),
        ttl=own.ttl or defaults.ttl,
        moving=bool(msgspec.json.decode(row.old_mx or "{}", type=OldMx).hosts),
    )


def _delegation(zone: str, domain: str) -> str:
    """A domain that the provider's zone lies in has its records itself. Raises ConfigError."""
    try:
        name = normal_domain(zone) if zone else ""
    except AddressError as error:
        raise ConfigError(f"domains.delegation: {error}") from error
    return "" if name and lies_in(name, domain) else name


def _spf(word: str) -> str:
    if word in ("", "mx", "a", "ip") or (word.startswith("include:") and " " not in word):
        return word
    raise ConfigError(f"spf: {word!r} is not mx, a, ip or include:NAME")


def settings_of(row: Domain) -> Settings:
    try:
        return msgspec.json.decode(row.settings, type=Settings)
    except msgspec.DecodeError as error:
        raise ConfigError(f"the settings of {row.name} cannot be read: {error}") from error


def _owned(row: OwnedRecord) -> Owned:
    return Owned(Record(row.name, row.type, row.data, row.ttl), Kind(row.kind), tuple(row.words.split()))


def own_of(row: Domain) -> DomainDns:
    """Raises ConfigError where it cannot be read."""
    return DomainDns(row.name, row.dns_target, tuple(row.kinds.split()), settings_of(row))
