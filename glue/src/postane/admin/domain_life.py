"""Where hosted domains stand in their lives: claimed and proved, led from state to state, suspended, let go.

Decisions are those of domains.life, on what domains.observe has seen. A look is taken first and outside of any
transaction; what follows from it is written only if the domain is still as it was then. `who` goes into the audit log.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from postane.admin import audit, domain
from postane.admin.domain import tenant_row
from postane.admin.domain_deeds import POLICIES, Deed, carry_out, failed
from postane.admin.domain_facts import set_own
from postane.admin.domain_look import Known, Looker
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
from postane.core.address import shown_domain
from postane.core.errors import ConflictError, NotFoundError, TemporaryError, UsageError
from postane.core.ports import Now
from postane.directory.dkim_keys import make_keys
from postane.domains import life as rules
from postane.domains.life import Life, Observation, Proof, State, Step
from postane.storage.schema import Account, Alias, Claim, Domain, Elsewhere, Tenant

REFUSALS = ("4xx", "5xx")


class Desk:
    """The verbs. `servers_port` is another than 53 in tests."""

    def __init__(self, site: Site, now: Now = time.time, servers_port: int = 53) -> None:
        self._site = site
        self._now = now
        self._port = servers_port
        self._looker = Looker(site, servers_port)

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
        known = self._looker.known(key)
        if known.life.state is not State.CLAIMED:
            return Change(False, self.show(key))
        return self._go(known, self._looker.look(known), "domain verify", who, word=False)

    def _take_over(self, rival: Claim, tenant: str, force: bool, who: str) -> Change[LifeView]:
        life = Life(State.CLAIMED, rival.created_at)
        seen = self._looker.look(Known(0, rival.name, life, rival.token, 0, (), self._looker.wishes(None)))
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

    def advance(
        self, name: str, *, exported: bool = False, dns: bool = True, dry_run: bool = False, who: str = ""
    ) -> Change[LifeView]:
        """One step, with the operator's word, if nothing holds the domain; else `holds` of the answer says what.

        `exported`: the operator's word too, that those who leave have their data. `dns`: with the records that the step
        asks for, also those of a foreign MX; what could not be put in leaves the domain where it was.
        """
        known = self._looker.known(domain_name(name))
        seen = self._looker.look(known)
        seen = replace(seen, exported=exported or seen.exported)
        return self._go(known, seen, "domain advance", who, word=True, dns=dns, dry_run=dry_run)

    def look(self, name: str) -> LifeView:
        """Where it stands, and what holds it there as the world is now; no step is made."""
        known = self._looker.known(domain_name(name))
        seen, now = self._looker.look(known), self._now()
        life = rules.remember(known.life, seen, now)
        found = rules.step(life, seen, now)
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            write(row, life)
            note_look(row, _ready(found), now)
            return life_view(session, row, found.actions if found.to is None else ())

    def watch(
        self, limit: int = 500, who: str = "", *, dns: bool = True, dry_run: bool = False
    ) -> list[Change[LifeView]]:
        """Looks at the domains whose time has come, and leads on those that nothing holds and that need no word.

        `dns`: with their records. `dry_run`: only those that would be led on, and nothing is written.

        What another command changes meanwhile is left to the next time.
        """
        with self._site.database.session() as session:
            query = select(Domain.name).where(Domain.state.not_in((State.SUSPENDED, State.REMOVED)), Domain.active)
            due = or_(Domain.check_again_at.is_(None), Domain.check_again_at <= self._now())
            names = list(session.scalars(query.where(due).order_by(Domain.check_again_at, Domain.id).limit(limit)))
        several: list[Known] = []
        for name in names:
            with suppress(NotFoundError):
                several.append(self._looker.known(name))
        done: list[Change[LifeView]] = []
        quiet: list[tuple[Known, Life, Step]] = []
        now = self._now()
        for known, seen in zip(several, self._looker.looks(several), strict=True):
            life = rules.remember(known.life, seen, now)
            found = rules.step(life, seen, now)
            if found.to is None and not (dns and _wanted(found, seen, life, word=False)):
                quiet.append((known, life, found))
                continue
            with suppress(TemporaryError, NotFoundError):
                done.append(self._go(known, seen, "domain watch", who, word=False, dns=dns, dry_run=dry_run))
        if dry_run:
            return done
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
            elsewhere = counts(session, Elsewhere)
            return [
                view_with(row, accounts.get(row.id, 0), aliases.get(row.id, 0), elsewhere.get(row.id, 0))
                for row in session.scalars(query)
            ]

    def rollback(
        self, name: str, who: str = "", why: str = "", *, dns: bool = True, dry_run: bool = False
    ) -> Change[LifeView]:
        """One step back, records first: an MX of before is there again while the mail is still taken here.

        Raises ConflictError where there is none.
        """
        known = self._looker.known(domain_name(name))
        back = rules.rollback(known.life, self._now())
        if back is None:
            raise ConflictError(
                f"{shown_domain(known.name)} is {known.life.state}: there is no step back",
                hint=f"postane domain remove {shown_domain(known.name)}",
            )
        actions = rules.taken_back(known.life.state)
        deeds = self._deeds(known, back.state, actions if dns else (), known.life, dry_run=dry_run)
        if dry_run:
            view = replace(self.show(name), state=back.state, holds="", actions=actions, deeds=deeds, stepped=True)
            return Change(True, view)
        if error := failed(deeds):
            return self._held(known, known.life, error, deeds)
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            view = self._put(session, row, back, "domain rollback", who, why, actions)
        return Change(True, replace(view, deeds=deeds, stepped=True))

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

    def _go(
        self,
        known: Known,
        seen: Observation,
        verb: str,
        who: str,
        *,
        word: bool,
        dns: bool = True,
        dry_run: bool = False,
    ) -> Change[LifeView]:
        """Makes the step that `seen` allows, with what it asks for at the domain's DNS, and notes what holds it now."""
        now = self._now()
        before = rules.remember(known.life, seen, now)
        found = rules.step(before, seen, now, word=word)
        wanted = _wanted(found, seen, before, word=word) if dns else ()
        if dry_run:
            deeds = self._deeds(known, found.to or before.state, wanted, before, dry_run=True)
            with self._site.database.session() as session:
                view = life_view(session, self._unchanged(session, known), found.actions)
            view = replace(view, state=found.to or known.life.state, holds=_ready(found).holds, deeds=deeds)
            return Change(found.to is not None or bool(deeds), replace(view, stepped=found.to is not None))
        if found.to is None:
            return self._stay(known, before, found, wanted, verb, who)
        # Records first: killed in between, the same step is made again. But a domain takes its mail before it is led
        # here; there the MX is asked for again by the state itself.
        late = found.to is State.CUTOVER
        deeds = () if late else self._deeds(known, found.to, wanted, before)
        if (error := failed(deeds)) or found.to is State.REMOVED:
            return self._held(known, before, error, deeds) if error else self._removed(known, found, deeds, who)
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            life = rules.moved(before, found.to, now, found.proof)
            write(row, life)
            if found.to is State.VERIFIED:
                make_keys(session, row, self._site.config.state, self._site.config.dkim.selector_prefix)
            note_look(row, _ready(rules.step(life, seen, now)), now)
            audit.note(session, who, verb, row.name, state=found.to, before=before.state, proof=found.proof)
            view = life_view(session, row, found.actions)
        if late and failed(deeds := self._deeds(known, found.to, wanted, before)):
            error = failed(deeds)
            with self._site.database.change() as session:
                audit.note(session, who, verb, known.name, state=before.state, before=found.to, why=error)
            return self._held(replace(known, life=life), before, error, deeds)
        return Change(True, replace(view, deeds=deeds, stepped=True))

    def _stay(
        self, known: Known, life: Life, found: Step, wanted: tuple[rules.Action, ...], verb: str, who: str
    ) -> Change[LifeView]:
        """It stays where it is, and what is asked for there is done: an MX made ready, a policy made stricter."""
        now, before = self._now(), life
        policies = {key: value for one in wanted for key, value in POLICIES.get(one, {}).items()}
        settings = ""
        if policies:  # the policy that we serve is the new one before its record says so (RFC 8461 section 5.1)
            with self._site.database.change() as session:
                row = self._unchanged(session, known)
                settings = row.settings
                set_own(self._site, row, None, None, policies)
                life = replace(life, since=now)  # from now on reports are about the new policy
                write(row, life)
                audit.note(session, who, verb, row.name, state=life.state, **policies)
                known = replace(known, life=life)
        deeds = self._deeds(known, life.state, wanted, life)
        if error := failed(deeds):
            return self._held(known, before, error, deeds, settings)
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            write(row, life)
            note_look(row, found, now)
            view = replace(life_view(session, row, found.actions), deeds=deeds)
            changed = any(one.state == "done" for one in deeds)
            if changed and not policies:
                audit.note(session, who, verb, row.name, state=life.state, did=" ".join(wanted))
        return Change(bool(policies) or changed, view)

    def _held(
        self, known: Known, life: Life, error: str, deeds: tuple[Deed, ...], settings: str = ""
    ) -> Change[LifeView]:
        """By its DNS, which did not take what a step asks for: it is where it was (`life`, and its own `settings`)."""
        now = self._now()
        with self._site.database.change() as session:
            row = self._unchanged(session, known)
            write(row, life)
            row.settings = settings or row.settings
            note_look(row, Step(None, f"its records could not be changed: {error}", now + rules.SOON), now)
            return Change(False, replace(life_view(session, row), deeds=deeds))

    def _removed(self, known: Known, found: Step, deeds: tuple[Deed, ...], who: str) -> Change[LifeView]:
        view = self.show(known.name)
        domain.remove(self._site, known.name, force=True, who=who, why="it has left")
        return Change(True, replace(view, state=State.REMOVED, actions=found.actions, deeds=deeds, stepped=True))

    def _deeds(
        self, known: Known, state: State, actions: tuple[rules.Action, ...], life: Life, *, dry_run: bool = False
    ) -> tuple[Deed, ...]:
        return carry_out(self._site, known.name, state, actions, life.old_mx, dry_run=dry_run, servers_port=self._port)

    def _unchanged(self, session: Session, known: Known) -> Domain:
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


def _ready(found: Step) -> Step:
    """A step that could be made is told as what is waited for."""
    if found.to is None:
        return found
    return replace(found, to=None, holds=f"nothing holds it: `domain advance` leads to {found.to}")


def _wanted(found: Step, seen: Observation, life: Life, *, word: bool) -> tuple[rules.Action, ...]:
    """What is carried out now. An MX that is another's is touched by the operator's word alone."""
    if found.to is not None:
        return found.actions
    if not word:
        return tuple(one for one in found.actions if one in POLICIES)
    if life.state is State.HARDENED and seen.mx_ours:
        return (*found.actions, rules.Action.PUBLISH)  # heals what an earlier run could not finish
    return found.actions
