"""A look at domains, for the steps of their lives: what the world shows of them, and what the directory knows besides.

A look is taken outside of any transaction; what follows from it holds only as long as the domain is as it was then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import func, select

from postane.admin import report
from postane.admin.domain_stage import life_of
from postane.admin.site import Site, hosted_domain
from postane.config.model import Dns
from postane.core.address import normal_domain
from postane.dns.authority import Authority
from postane.dns.resolver import Resolver
from postane.domains.life import Life, Observation, State
from postane.domains.observe import Asked, observe, try_path
from postane.domains.world import World
from postane.filters.auth.public_suffix import by_list
from postane.storage.schema import Account, Domain

_SERVER_SECONDS = 3.0  # for one question to one server
_AT_ONCE = 50  # domains that are looked at
_TRIED = 3  # accounts that a mail is tried for, the oldest


class Wishes(msgspec.Struct):
    """What is read of a domain's own settings; the rest is for others."""

    dmarc: str = ""
    mta_sts: str = ""
    delegation: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A domain as it was read, before the look. `first` are addresses of the oldest accounts."""

    id: int
    name: str
    life: Life
    token: str
    accounts: int
    first: tuple[str, ...]
    wishes: Wishes
    exported_at: float | None = None
    reports: report.Summary = report.NONE


class Looker:
    """`servers_port` is another than 53 in tests."""

    def __init__(self, site: Site, servers_port: int) -> None:
        self._site = site
        self._port = servers_port

    def known(self, key: str) -> Known:
        with self._site.database.session() as session:
            row = hosted_domain(session, key)
            accounts = select(Account.address).where(Account.domain_id == row.id, Account.active)
            first = session.scalars(accounts.order_by(Account.id).limit(_TRIED)).all()
            count = session.scalar(select(func.count()).select_from(accounts.subquery())) or 0
            life = life_of(row)
            reports = report.summary(session, row.id, life.since) if life.state is State.HARDENED else report.NONE
            return Known(
                row.id, row.name, life, row.token, count, tuple(first), self.wishes(row), row.exported_at, reports
            )

    def wishes(self, row: Domain | None) -> Wishes:
        own = msgspec.json.decode(row.settings, type=Wishes) if row is not None else Wishes()
        config = self._site.config
        return Wishes(
            own.dmarc or config.domains.dmarc,
            own.mta_sts or config.clients.mta_sts,
            own.delegation or config.domains.delegation,
        )

    def look(self, known: Known) -> Observation:
        return self.looks([known])[0]

    def looks(self, several: Sequence[Known]) -> list[Observation]:
        """All at once, within bounds; what is known of the servers of top-level domains is asked for once."""
        config = self._site.config
        ours = frozenset({normal_domain(config.host)})

        async def look() -> list[Observation]:
            resolver = Resolver(config.dns)
            others = [Resolver(Dns(nameservers=(one,), timeout=config.dns.timeout)) for one in config.domains.resolvers]
            authority = Authority(_SERVER_SECONDS, self._port)
            world = World(resolver, authority, by_list(config.state), seconds=config.domains.look_timeout)
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(known: Known) -> Observation:
                token = known.token if known.life.state is State.CLAIMED else ""
                asked = Asked(known.name, token, ours, known.wishes.delegation)
                async with turns:
                    return await observe(world, [one.ask for one in (resolver, *others)], asked)

            return await asyncio.gather(*map(one, several))

        return [self._whole(known, seen) for known, seen in zip(several, asyncio.run(look()), strict=True)]

    def _whole(self, known: Known, seen: Observation) -> Observation:
        """With what the world does not know."""
        reports, life = known.reports, known.life
        seen = replace(
            seen,
            accounts=known.accounts,
            dmarc=known.wishes.dmarc,
            mta_sts=known.wishes.mta_sts,
            aligned=reports.aligned,
            report_days=reports.days,
            tls_failed=reports.tls_failed,
            tls_days=reports.tls_days,
            # What has come since it was taken belongs to its owner too.
            exported=known.exported_at is not None and known.exported_at >= life.since,
        )
        if life.state is State.SHADOW and known.first:
            path, why = self._try(known.first)
            seen = replace(seen, path=path, path_why=why)
        return seen

    def _try(self, addresses: Sequence[str]) -> tuple[bool, str]:
        """The whole way to each of the accounts: our own door as a stranger knocks, then the store of mailboxes."""
        config = self._site.config
        host, port = _door(config.smtp.listen.smtp)
        store = config.delivery.lmtp if config.delivery.local == "lmtp" else ""
        for address in addresses:
            taken, why = try_path(host, port, address, store=store)
            if not taken:
                return False, f"{address}: {why}"
        return True, ""


def _door(listen: tuple[str, ...]) -> tuple[str, int]:
    """Where a peer on this host reaches the first of our doors."""
    host, _, port = (listen[0] if listen else "[::]:25").rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "::1", "": "::1"}.get(host, host), int(port)  # noqa: S104
