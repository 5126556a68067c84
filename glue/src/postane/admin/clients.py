"""What the mail programs of a hosted domain will find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import select

from postane.admin.names import domain_name
from postane.admin.site import Site, hosted_domain
from postane.clients import autoconfig, autodiscover, mobileconfig, mta_sts, pacc
from postane.clients.dns import name_records, srv_records, text_records
from postane.clients.model import Service, Setup, make_setup
from postane.dns.records import Record
from postane.domains.life import OURS, mail_state
from postane.storage.schema import Domain

# Where a domain may stand in its life for its people to be told. While the MX is another's there is no policy.
_TOLD = frozenset({"verified", "shadow", "cutover", "hardened", "suspended", "leaving"})


class _Wishes(msgspec.Struct):
    """What is read of a domain's own settings; the rest is for others."""

    mta_sts: Literal["", "off", "none", "testing", "enforce"] = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the settings. `asks` are programs that go it."""

    name: str
    asks: str
    url: str


@dataclass(frozen=True, slots=True)
class ClientsView:
    """`login` is what people type as their name; `mta_sts` the policy file, line by line, [] if none is served."""

    domain: str
    shown: str
    provider: str
    login: str
    webmail: str
    services: tuple[Service, ...]
    missing: tuple[str, ...]
    ways: tuple[Way, ...]
    records: tuple[Record, ...]
    mta_sts: tuple[str, ...]


def setup_of(site: Site, domain: str) -> Setup | None:
    """The model of a domain (A-labels) that is proved and active here, else None."""
    with site.database.session() as session:
        row = session.scalar(select(Domain).where(Domain.name == domain, Domain.active, Domain.state.in_(_TOLD)))
        return None if row is None else setup_in(site, row)


def show(site: Site, name: str) -> ClientsView:
    """Also for a domain that is switched off, which nobody is told of. Raises NotFoundError."""
    key = domain_name(name)
    with site.database.session() as session:
        setup = setup_in(site, hosted_domain(session, key))
    return ClientsView(
        domain=setup.domain,
        shown=setup.shown,
        provider=setup.provider,
        login=f"the whole address, …@{setup.domain}",
        webmail=setup.webmail,
        services=setup.services,
        missing=setup.missing,
        ways=_ways(setup),
        records=(*srv_records(setup), *name_records(setup), *text_records(setup)),
        mta_sts=tuple(mta_sts.policy_text(setup.mta_sts).splitlines()) if setup.mta_sts else (),
    )


def setup_in(site: Site, row: Domain) -> Setup:
    """The model of a domain's row. Its MTA-STS policy is the one that is served, and the one whose id goes into the
    DNS: None where nobody is told of the domain, or its mail is another's.
    """
    told = row.active is not False and row.state in _TOLD
    if not told or mail_state(row.state, row.came_from) not in OURS:
        return make_setup(row.name, site.config, mode="off")
    return make_setup(row.name, site.config, mode=msgspec.json.decode(row.settings, type=_Wishes).mta_sts or None)


def _ways(setup: Setup) -> tuple[Way, ...]:
    domain, first = setup.domain, autoconfig.PATHS[0]
    query = f"?emailaddress=NAME@{domain}"
    found = [
        Way("autoconfig", "Thunderbird, K-9, Evolution", f"http://autoconfig.{domain}{first}{query}"),
        Way("autodiscover", "Outlook", f"{setup.url}{autodiscover.PATH}"),
        Way("autodiscover", "Outlook, by redirection", f"http://autodiscover.{domain}{autodiscover.PATH}"),
        Way("autodiscover-json", "Outlook", f"{setup.url}{autodiscover.JSON_PATH}"),
        Way("mobileconfig", "Apple Mail", f"{setup.url}{mobileconfig.PATH}{query}"),
        Way("pacc", "programs to come", f"https://{pacc.LABEL}.{domain}{pacc.PATH}"),
    ]
    if setup.mta_sts is not None:
        found.append(Way("mta-sts", "servers that send", f"https://{mta_sts.LABEL}.{domain}{mta_sts.PATH}"))
    return tuple(found)
