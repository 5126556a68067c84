"""Where hosted domains stand in their lives: claimed and proved, led from state to state, suspended, let go.

Decisions are those of domains.life, on what domains.observe has seen. A look is taken first and outside of any
transaction; what follows from it is written only if the domain is still as it was then. `who` goes into the audit log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from postane.admin import audit, domain
from postane.admin.domain import tenant_row
from postane.admin.domain_stage import (
    ClaimView,
    LifeView,
    claim_of,
    claim_view,
    counts,
    life_of,
    life_view,
    new_token,
    note_look,
    rival_claim,
    view_with,
    write,
)
from postane.admin.names import domain_name, own_domain
from postane.admin.site import Change, Site, hosted_domain
from postane.admin.tenant import tenant_name
from postane.config.model import Dns
from postane.core.address import normal_domain, shown_domain
from postane.core.errors import ConflictError, NotFoundError, TemporaryError, UsageError
from postane.core.ports import Now
from postane.directory.dkim_keys import make_keys
from postane.dns.authority import Authority
from postane.dns.resolver import Resolver
from postane.domains import life as rules
from postane.domains.life import Life, Observation, Proof, State, Step
from postane.domains.observe import Asked, observe, try_path
from postane.domains.world import World
from postane.filters.auth.public_suffix import by_list
from postane.storage.schema import Account, Alias, Claim, Domain, Tenant

_SERVER_SECONDS = 3.0  # for one question to one server
_AT_ONCE = 50  # domains that are looked at
REFUSALS = ("4xx", "5xx")


class _Wishes(msgspec.Struct):
    """What is read of a domain's own settings; the rest is for others."""

    dmarc: str = ""
    mta_sts: str = ""
    delegation: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A domain as it was read, before the look."""

    id: int
    name: str
    life: Life
    token: str
    accounts: int
    first: str
    wishes: _Wishes


class Desk:
    """The verbs. `servers_port` is another than 53 in tests."""

    def __init__(self, site: Site, now: Now = time.time, servers_port: int = 53) -> None:
        self._site = site
        self._now = now
        self._port = servers_port

    # -- claims ---------------------------------------------------------------------------------------------------

    def claim(self, name: str, tenant: str, who: str = "") -> Change[ClaimView]:
        """A tenant's claim, which is worth nothing until it is proved.

        Raises ConflictError, with what proves it, where another tenant has the domain; the claim is noted all the same.
        """
        key, tenant = own_domain(name, self._site.config.state), tenant_name(tenant)
        with self._site.database.change() as session:
            row = session.scalar(select(Domain).where(Domain.name == key))
            if row is not None and row.tenant.name != tenant:
                rival, changed = rival_claim(session, key, tenant_row(session, tenant), self._now())
                view = claim_view(rival.name, tenant, State.CLAIMED, rival.token)
            else:
                changed = row is None
                if row is None:
                    row = Domain(name=key, tenant=tenant_row(session, tenant), state=State.CLAIMED, proof=Proof.NONE)
                    # One who claimed it while it was another's has the proof already.
                    own = claim_of(session, key, tenant)
                    row.token = own.token if own else new_token()
                    row.state_since = self._now()
                    session.add(row)
                    if own:
                        session.delete(own)
                view = claim_view(key, tenant, row.state, row.token if row.state == State.CLAIMED else "")
            if changed:
                audit.note(session, who, "domain claim", key, tenant=tenant)
            taken = row is None or row.tenant.name != tenant
        if taken:
            raise ConflictError(
                f"{view.shown} is another tenant's here: it is {tenant}'s once its name servers show "
                f'{view.record_name} TXT "{view.record}"',
                hint=f"then: postane domain verify {view.shown} --tenant {tenant}",
            )
        return Change(changed, view)

    def verify(self, name: str, tenant: str | None = None, *, force: bool = False, who: str = "") -> Change[LifeView]:
        """Looks for the proof. A tenant's that is proved takes the domain over from another one.

        `force`: with the accounts and aliases of that one removed. Raises NotFoundError where nobody claims it.
        """
        key = domain_name(name)
        with self._site.database.session() as session:
            row = session.scalar(select(Domain).where(Domain.name == key))
            rival = None if tenant is None else claim_of(session, key, tenant)
            if row is None and rival is None:
                raise NotFoundError(
                    f"nobody claims {shown_domain(key)}", hint=f"postane domain claim {shown_domain(key)} --tenant NAME"
                )
            if tenant is None or (row is not None and row.tenant.name == tenant):
                rival = None
            elif rival is None:
                raise NotFoundError(
                    f"{tenant} does not claim {shown_domain(key)}",
                    hint=f"postane domain claim {shown_domain(key)} --tenant {tenant}",
                )
        if rival is not None:
            assert tenant is not None
            return self._take_over(rival, tenant, force, who)
        known = self._known(key)
        if known.life.state is not State.CLAIMED:
            return Change(False, self.show(key))
        return self._go(known, self._look(known), "domain verify", who, word=False)

    def _take_over(self, rival: Claim, tenant: str, force: bool, who: str) -> Change[LifeView]:
        life = Life(State.CLAIMED, rival.created_at)
        seen = self._look(_Known(0, rival.name, life, rival.token, 0, "", self._wishes(None)))
        found = rules.step(life, seen, self._now())
        if found.to is None:
            raise ConflictError(f"{shown_domain(rival.name)} stays another tenant's: {found.holds}")
        with self._site.database.session() as session:
            row = session.scalar(select(Domain).where(Domain.name == rival.name))
            proved = row is not None and row.state != State.CLAIMED
        if row is not None:
            # A claim that was never proved ends with all that was made for it: no mail has ever come to it.
            domain.remove(
                self._site, rival.name, force=force or not proved, who=who, why=f"{tenant} has proved that it is theirs"
            )
        with self._site.database.change() as session:
            if session.scalar(select(Domain.id).where(Domain.name == rival.name)) is not None:
                raise TemporaryError(f"another command has just made {rival.name}", hint="try again")
            now = self._now()
            row = Domain(name=rival.name, tenant=tenant_row(session, tenant), state=State.CLAIMED, proof=Proof.NONE)
            session.add(row)
            session.flush()
            write(row, rules.moved(rules.remember(life, seen, now), State.VERIFIED, now, found.proof))
            make_keys(session, row, self._site.config.state, self._site.config.dkim.selector_prefix)
            if (claim := claim_of(session, rival.name, tenant)) is not None:
                session.delete(claim)
            audit.note(session, who, "domain verify", rival.name, tenant=tenant, state=row.state, proof=row.proof)
        return Change(True, self.show(rival.name))

    # -- from state to state --------------------------------------------------------------------------------------

    def advance(self, name: str, *, exported: bool = False, dry_run: bool = False, who: str = "") -> Change[LifeView]:
        """One step, with the operator's word, if nothing holds the domain; else `holds` of the answer says what.

        `exported`: the operator's word too, that those who leave have their data.
        """
        known = self._known(domain_name(name))
        seen = replace(self._look(known), exported=exported)
        return self._go(known, seen, "domain advance", who, word=True, dry_run=dry_run)

    def look(self, name: str) -> LifeView:
        """Where it stands, and what holds it there as the world is now; no step is made."""
        known = self._known(domain_name(name))
        seen, now = self._look(known), self._now()
        life = rules.remember(known.life, seen, now)
        found = rules.step(life, seen, now)
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            write(row, life)
            note_look(row, _ready(found), now)
            return life_view(session, row, found.actions if found.to is None else ())

    def watch(self, limit: int = 500, who: str = "") -> list[Change[LifeView]]:
        """Looks at the domains whose time has come, and leads on those that nothing holds and that need no word.

        What another command changes meanwhile is left to the next time.
        """
        with self._site.database.session() as session:
            query = select(Domain.name).where(Domain.state.not_in((State.SUSPENDED, State.REMOVED)), Domain.active)
            due = or_(Domain.check_again_at.is_(None), Domain.check_again_at <= self._now())
            names = list(session.scalars(query.where(due).order_by(Domain.check_again_at, Domain.id).limit(limit)))
        several: list[_Known] = []
        for name in names:
            with suppress(NotFoundError):
                several.append(self._known(name))
        done: list[Change[LifeView]] = []
        quiet: list[tuple[_Known, Life, Step]] = []
        now = self._now()
        for known, seen in zip(several, self._looks(several), strict=True):
            life = rules.remember(known.life, seen, now)
            found = rules.step(life, seen, now)
            if found.to is None:
                quiet.append((known, life, found))
                continue
            with suppress(TemporaryError, NotFoundError):
                done.append(self._go(known, seen, "domain watch", who, word=False))
        # In one: each change of the directory makes all who read it forget what they know.
        with self._site.database.change() as session:
            for known, life, found in quiet:
                with suppress(TemporaryError, NotFoundError):
                    row = self._unchanged(session, known)
                    write(row, life)
                    note_look(row, found, now)
                    done.append(Change(False, life_view(session, row, found.actions)))
        return done

    def every(self, tenant: str | None = None) -> list[LifeView]:
        """All that are hosted, or claimed, by name."""
        query = select(Domain).order_by(Domain.name)
        if tenant is not None:
            query = query.join(Tenant).where(Tenant.name == tenant)
        with self._site.database.session() as session:
            accounts = counts(session, Account)
            aliases = counts(session, Alias)
            return [view_with(row, accounts.get(row.id, 0), aliases.get(row.id, 0)) for row in session.scalars(query)]

    def rollback(self, name: str, who: str = "", why: str = "") -> Change[LifeView]:
        """One step back. Raises ConflictError where there is none."""
        with self._site.database.change() as session:
            row = hosted_domain(session, domain_name(name))
            life = life_of(row)
            back = rules.rollback(life, self._now())
            if back is None:
                raise ConflictError(
                    f"{shown_domain(row.name)} is {life.state}: there is no step back",
                    hint=f"postane domain remove {shown_domain(row.name)}",
                )
            return Change(
                True, self._put(session, row, back, "domain rollback", who, why, rules.taken_back(life.state))
            )

    def suspend(self, name: str, refusal: str = "4xx", who: str = "", why: str = "") -> Change[LifeView]:
        """No mail, told `refusal` to who sends it, and no logins. Raises UsageError, ConflictError."""
        if refusal not in REFUSALS:
            raise UsageError(f"{refusal!r}: a suspended domain says 4xx (try again later) or 5xx (no)")
        with self._site.database.change() as session:
            row = hosted_domain(session, domain_name(name))
            if row.state == State.SUSPENDED and row.refusal == refusal:
                return Change(False, life_view(session, row))
            row.refusal = refusal
            life = life_of(row)
            if life.state is not State.SUSPENDED:
                life = self._aside(row, State.SUSPENDED)
            return Change(True, self._put(session, row, life, "domain suspend", who, why, refusal=refusal))

    def resume(self, name: str, who: str = "", why: str = "") -> Change[LifeView]:
        """Back to where it was before it was suspended."""
        with self._site.database.change() as session:
            row = hosted_domain(session, domain_name(name))
            if row.state != State.SUSPENDED:
                return Change(False, life_view(session, row))
            back = rules.rollback(life_of(row), self._now())
            assert back is not None
            return Change(True, self._put(session, row, back, "domain resume", who, why))

    def leave(self, name: str, who: str = "", why: str = "") -> Change[LifeView]:
        """It will go elsewhere: its mail is taken until the new MX is seen. Raises ConflictError."""
        with self._site.database.change() as session:
            row = hosted_domain(session, domain_name(name))
            if row.state == State.LEAVING:
                return Change(False, life_view(session, row))
            return Change(True, self._put(session, row, self._aside(row, State.LEAVING), "domain leave", who, why))

    def show(self, name: str) -> LifeView:
        with self._site.database.session() as session:
            return life_view(session, hosted_domain(session, domain_name(name)))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _known(self, key: str) -> _Known:
        with self._site.database.session() as session:
            row = hosted_domain(session, key)
            accounts = select(Account.address).where(Account.domain_id == row.id, Account.active)
            first = session.scalar(accounts.order_by(Account.id).limit(1)) or ""
            count = session.scalar(select(func.count()).select_from(accounts.subquery())) or 0
            return _Known(row.id, row.name, life_of(row), row.token, count, first, self._wishes(row))

    def _wishes(self, row: Domain | None) -> _Wishes:
        own = msgspec.json.decode(row.settings, type=_Wishes) if row is not None else _Wishes()
        config = self._site.config
        return _Wishes(
            own.dmarc or config.domains.dmarc,
            own.mta_sts or config.clients.mta_sts,
            own.delegation or config.domains.delegation,
        )

    def _look(self, known: _Known) -> Observation:
        return self._looks([known])[0]

    def _looks(self, several: Sequence[_Known]) -> list[Observation]:
        """All at once, within bounds; what is known of the servers of top-level domains is asked for once."""
        config = self._site.config
        ours = frozenset({normal_domain(config.host)})

        async def look() -> list[Observation]:
            resolver = Resolver(config.dns)
            others = [Resolver(Dns(nameservers=(one,), timeout=config.dns.timeout)) for one in config.domains.resolvers]
            authority = Authority(_SERVER_SECONDS, self._port)
            world = World(resolver, authority, by_list(config.state), seconds=config.domains.look_timeout)
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(known: _Known) -> Observation:
                token = known.token if known.life.state is State.CLAIMED else ""
                asked = Asked(known.name, token, ours, known.wishes.delegation)
                async with turns:
                    return await observe(world, [one.ask for one in (resolver, *others)], asked)

            return await asyncio.gather(*map(one, several))

        return [self._whole(known, seen) for known, seen in zip(several, asyncio.run(look()), strict=True)]

    def _whole(self, known: _Known, seen: Observation) -> Observation:
        """With what the world does not know."""
        seen = replace(seen, accounts=known.accounts, dmarc=known.wishes.dmarc, mta_sts=known.wishes.mta_sts)
        if known.life.state is State.SHADOW and known.first:
            path, why = try_path(*_door(self._site.config.smtp.listen.smtp), known.first)
            seen = replace(seen, path=path, path_why=why)
        return seen

    def _go(
        self, known: _Known, seen: Observation, verb: str, who: str, *, word: bool, dry_run: bool = False
    ) -> Change[LifeView]:
        """Makes the step that `seen` allows, and notes what holds the domain now."""
        now = self._now()
        before = rules.remember(known.life, seen, now)
        found = rules.step(before, seen, now, word=word)
        if dry_run:
            with self._site.database.session() as session:
                view = life_view(session, self._unchanged(session, known), found.actions)
            told = _ready(found)
            to = found.to or known.life.state
            return Change(found.to is not None, replace(view, state=to, holds=told.holds))
        if found.to is State.REMOVED:
            view = self.show(known.name)
            domain.remove(self._site, known.name, force=True, who=who, why="it has left")
            return Change(True, replace(view, state=State.REMOVED, actions=found.actions))
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            if found.to is None:
                write(row, before)
                note_look(row, found, now)
                return Change(False, life_view(session, row, found.actions))
            life = rules.moved(before, found.to, now, found.proof)
            write(row, life)
            if found.to is State.VERIFIED:
                make_keys(session, row, self._site.config.state, self._site.config.dkim.selector_prefix)
            note_look(row, _ready(rules.step(life, seen, now)), now)
            audit.note(session, who, verb, row.name, state=found.to, before=before.state, proof=found.proof)
            return Change(True, life_view(session, row, found.actions))

    def _unchanged(self, session: Session, known: _Known) -> Domain:
        row = hosted_domain(session, known.name)
        if row.id != known.id or life_of(row) != known.life:
            raise TemporaryError(f"another command has just changed {shown_domain(row.name)}", hint="try again")
        return row

    def _aside(self, row: Domain, to: State) -> Life:
        try:
            return rules.moved(life_of(row), to, self._now())
        except ValueError as error:
            raise ConflictError(
                f"{shown_domain(row.name)} is {row.state}: it cannot be {to}",
                hint="postane domain remove ends a claim" if row.state == State.CLAIMED else "take that back first",
            ) from error

    def _put(
        self,
        session: Session,
        row: Domain,
        life: Life,
        verb: str,
        who: str,
        why: str,
        actions: tuple[rules.Action, ...] = (),
        **detail: str,
    ) -> LifeView:
        audit.note(session, who, verb, row.name, state=life.state, before=row.state, why=why, **detail)
        write(row, life)
        if life.state is State.CLAIMED and not row.token:
            row.token = new_token()
        if life.state is not State.SUSPENDED and State.SUSPENDED not in life.came_from:
            row.refusal = ""
        # What held it is told by the next look; that of the suspended is known.
        row.holds = rules.step(life, Observation(), self._now()).holds if life.state is State.SUSPENDED else ""
        row.checked_at = row.check_again_at = None
        return life_view(session, row, actions)


def _door(listen: tuple[str, ...]) -> tuple[str, int]:
    """Where a peer on this host reaches the first of our doors."""
    host, _, port = (listen[0] if listen else "[::]:25").rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "::1", "": "::1"}.get(host, host), int(port)  # noqa: S104


def _ready(found: Step) -> Step:
    """A step that could be made is told as what is waited for."""
    if found.to is None:
        return found
    return replace(found, to=None, holds=f"nothing holds it: `domain advance` leads to {found.to}")
