"""The records of hosted domains: shown, and published in the name server that the configuration names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from postane.admin import domain as domains
from postane.admin.names import domain_name
from postane.admin.site import Site
from postane.core.address import normal_domain
from postane.core.errors import ConfigError, ConflictError
from postane.dns.knot import Knot
from postane.dns.records import Plan, Record, difference, wanted
from postane.domains.life import OURS, State, mail_state
from postane.storage.schema import Domain


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """What was done, or would be, to one zone. `hosted` is False for a zone that is given up."""

    domain: str
    hosted: bool
    added: tuple[Record, ...] = ()
    removed: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """The zones that were not as they should be. `note` tells what is left to the operator; empty: nothing."""

    changed: bool
    zones: tuple[ZoneChange, ...]
    note: str = ""


def records(site: Site, name: str) -> list[Record]:
    """The records that a hosted domain needs, wherever they are published. Raises NotFoundError."""
    key = domain_name(name)
    keys = [(one.selector, one.record) for one in domains.keys(site, key) if one.active]
    return wanted(key, _host(site), keys, site.config.dns)


def publish(site: Site, names: Sequence[str], *, everything: bool = False, dry_run: bool = False) -> Published:
    """Brings the zones of these domains to what they should be; with `everything`, of all, and gives up the rest.

    A domain whose mail is not ours yet keeps the zone that it has. Raises ConfigError where no name server is
    configured, ServiceMissingError where it does not answer, ConflictError for the name of such a domain.
    """
    if site.config.dns.publish != "knot":
        raise ConfigError(
            "dns.publish is none: records are put nowhere",
            hint="`postane domain records DOMAIN --zone` shows what to put in at your DNS provider",
        )
    knot = Knot(site.config.dns.knot_socket)
    hosted = _states(site)
    chosen = [name for name, state in hosted.items() if state in OURS]
    if not everything:
        chosen = [domain_name(name) for name in names]
        for name in chosen:
            if (state := hosted.get(name, State.CUTOVER)) not in OURS:
                raise ConflictError(
                    f"{name} is {state}: its mail does not come here yet", hint=f"postane domain plan {name}"
                )
    desired = {name: records(site, name) for name in dict.fromkeys(chosen)}

    members = knot.members()
    new = [name for name in desired if name not in members]
    gone = {name: entry for name, entry in members.items() if everything and name not in hosted}
    served = knot.read([name for name in desired if name in members])
    now = int(time.time())
    plans = [difference(name, _host(site), served.get(name, ()), desired[name], serial=now) for name in desired]
    plans = [plan for plan in plans if plan]
    if not dry_run:
        if new or gone:
            knot.change_members(new, gone)
        knot.apply(plans)
    changes = (*map(_change, plans), *(ZoneChange(name, False) for name in gone))
    return Published(bool(changes or new), changes, _note(site))


def _states(site: Site) -> dict[str, State]:
    with site.database.session() as session:
        rows = session.execute(select(Domain.name, Domain.state, Domain.came_from).order_by(Domain.name))
        return {name: mail_state(state, came_from) for name, state, came_from in rows}


def _note(site: Site) -> str:
    host = _host(site)
    labels = host.split(".")
    zones = [".".join(labels[first:]) for first in range(len(labels))]
    with site.database.session() as session:
        if session.scalar(select(Domain.id).where(Domain.name.in_(zones)).limit(1)) is not None:
            return ""
    return f"{host} lies in no hosted domain: its addresses are for whoever serves its zone to publish"


def _change(plan: Plan) -> ZoneChange:
    return ZoneChange(plan.zone, True, plan.add, plan.remove)


def _host(site: Site) -> str:
    return normal_domain(site.config.host)
