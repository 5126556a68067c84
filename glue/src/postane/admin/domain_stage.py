"""A domain's row as domains.life sees it, as verbs show it, and the claims of others beside it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postane.admin.domain import DomainView, view_of
from postane.admin.domain_deeds import Deed
from postane.core.address import shown_domain
from postane.dns.records import text_of
from postane.domains import life as rules
from postane.domains.life import Life, OldMx, Proof, State, Step
from postane.domains.observe import challenge
from postane.storage.schema import Account, Alias, Claim, Domain, Elsewhere, Tenant


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim, and the TXT record that proves it."""

    name: str
    shown: str
    tenant: str
    state: str
    record_name: str
    record: str


@dataclass(frozen=True, slots=True)
class LifeView(DomainView):
    """`holds` is what held it at the last look (`checked_at`), a line for a person. Times are seconds since the epoch.

    `actions` are what the last step asks for (domains.life.Action), `deeds` what was done about it at the domain's DNS;
    `elsewhere` counts addresses that are listed as still at the host that the domain comes from; `stepped`: this call
    has led the domain from one state to another.
    """

    state: str
    state_since: float
    proof: str
    refusal: str
    holds: str
    checked_at: float | None
    check_again_at: float | None
    old_mx: tuple[str, ...]
    elsewhere: int = 0
    actions: tuple[str, ...] = ()
    deeds: tuple[Deed, ...] = ()
    stepped: bool = False


def new_token() -> str:
    return secrets.token_hex(16)  # of letters that stay the same in a DNS name, whatever becomes of their case


def claim_of(session: Session, name: str, tenant: str) -> Claim | None:
    query = select(Claim).join(Tenant, Tenant.id == Claim.tenant_id).where(Claim.name == name, Tenant.name == tenant)
    return session.scalar(query)


def rival_claim(session: Session, name: str, tenant: Tenant, now: float) -> tuple[Claim, bool]:
    session.flush()
    if (known := claim_of(session, name, tenant.name)) is not None:
        return known, False
    made = Claim(name=name, tenant_id=tenant.id, token=new_token(), created_at=now)
    session.add(made)
    return made, True


def claim_view(name: str, tenant: str, state: str, token: str) -> ClaimView:
    """Without a token nothing has to be set any more."""
    record = challenge(name, token)
    return ClaimView(
        name, shown_domain(name), tenant, state, record.name if token else "", text_of(record.data) if token else ""
    )


def life_of(row: Domain) -> Life:
    return Life(
        State(row.state),
        row.state_since,
        Proof(row.proof),
        tuple(map(State, row.came_from.split())),
        msgspec.json.decode(row.old_mx, type=OldMx),
    )


def write(row: Domain, life: Life) -> None:
    row.state, row.state_since, row.proof = str(life.state), life.since, str(life.proof)
    row.came_from = " ".join(life.came_from)
    row.old_mx = msgspec.json.encode(life.old_mx).decode()


def note_look(row: Domain, found: Step, now: float) -> None:
    row.holds, row.checked_at, row.check_again_at = found.holds, now, found.check_again_at


def counts(session: Session, table: type[Account] | type[Alias] | type[Elsewhere]) -> dict[int, int]:
    """Rows of each domain."""
    rows = session.execute(select(table.domain_id, func.count()).group_by(table.domain_id))
    return {row[0]: row[1] for row in rows}


def life_view(session: Session, row: Domain, actions: Iterable[rules.Action] = ()) -> LifeView:
    people = view_of(session, row)
    elsewhere = session.scalar(select(func.count(Elsewhere.id)).where(Elsewhere.domain_id == row.id)) or 0
    return view_with(row, people.accounts, people.aliases, elsewhere, actions)


def view_with(
    row: Domain, accounts: int, aliases: int, elsewhere: int, actions: Iterable[rules.Action] = ()
) -> LifeView:
    return LifeView(
        name=row.name,
        shown=shown_domain(row.name),
        tenant=row.tenant.name,
        active=row.active,
        accounts=accounts,
        aliases=aliases,
        state=row.state,
        state_since=row.state_since,
        proof=row.proof,
        refusal=row.refusal,
        holds=row.holds,
        checked_at=row.checked_at,
        check_again_at=row.check_again_at,
        old_mx=msgspec.json.decode(row.old_mx, type=OldMx).hosts,
        elsewhere=elsewhere,
        actions=tuple(map(str, actions)),
    )
