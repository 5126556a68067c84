"""One run: where names lead, what is due, orders side by side, and what came of each noted at once.

Whoever is killed in the middle leaves the old certificate in place, at most a record or a file of a challenge (which
the next run takes away), and an order that the authority forgets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from cryptography import x509

from postane.admin.certificate_proofs import Proofs
from postane.admin.certificates import Done, Told, held_back, service_names, standing
from postane.admin.site import Site
from postane.core.errors import ConfigError, PermanentError, PostaneError, ServiceMissingError, TemporaryError
from postane.dns.resolver import Resolver
from postane.tls import request, schedule, summary
from postane.tls.acme import Authority, NamesRefusedError, Place, Proof, RateLimitedError
from postane.tls.ledger import Fault, Ledger
from postane.tls.names import UNKNOWN, Chosen, Leads, choose
from postane.tls.schedule import PRESSING, Limits, Reason, Turn, judge
from postane.tls.store import Held, Store

LOOKS = 50  # domains whose names are looked at side by side
ADVICES = 1000  # certificates about which the authority is asked in one run
_NOBODY = "no name leads here"
ROUNDS = 3  # orders for one domain, each without the names that the last one failed for


def run(site: Site, domains: Sequence[str], *, asked: bool, dry_run: bool, staging: bool, told: Told) -> list[Done]:
    """`asked`: somebody named these domains. See certificates.renew."""
    store = Store(Path(site.config.state))
    if dry_run:
        return asyncio.run(_Run(site, store, staging).would(domains, asked))
    with store.locked():
        return asyncio.run(_Run(site, store, staging).carry_out(domains, asked, told))


class _Run:
    def __init__(self, site: Site, store: Store, staging: bool) -> None:
        settings = site.config.certificates
        self.site = site
        self._store = store
        self._staging = staging
        self._ledger = Ledger(store)
        self._resolver = Resolver(site.config.dns)
        self._proofs = Proofs(site, self._resolver, self._ledger)
        self._by_dns = settings.challenge == "dns"
        self._place = Place(
            settings.staging if staging else settings.directory,
            settings.account_email,
            settings.ca_bundle,
            settings.external_account,
            f"postane/{version('postane')}",
            settings.order_seconds,
        )
        self._free: list[Authority] = []
        self._opening = asyncio.Lock()
        self._away: PostaneError | None = None  # why nothing more is asked of it in this run
        self._shut: PostaneError | None = None  # why it does not let us in at all
        self._chosen: dict[str, Chosen] = {}
        self._addresses: frozenset[str] | None = None
        self._host_names = _names_in(site.config.tls.certificate)

    async def would(self, domains: Sequence[str], asked: bool) -> list[Done]:
        turns = await self._turns(domains, asked)
        now = time.time()
        return [
            Done(
                turn.name,
                "would order",
                turn.reason.value,
                self._chosen[turn.name].names,
                dict(self._chosen[turn.name].left_out),
            )
            if turn.reason is not Reason.GOOD and turn.at <= now
            else self._quiet(turn)
            for turn in turns
        ]

    async def carry_out(self, domains: Sequence[str], asked: bool, told: Told) -> list[Done]:
        notes = await self._proofs.clean()
        if not self._staging:
            held = {domain: one for domain in domains if (one := self._store.read(domain)) is not None}
            self._store.settle({domain: self._ledger.of(domain).names or _plain(one) for domain, one in held.items()})
            if not asked:
                self._forget(domains)
        common = self._ledger.common
        if not asked and common.resting_until > time.time():
            rests = min(common.resting_until, time.time() + 7 * schedule.DAY)
            common.resting_until = rests
            self._away = TemporaryError(f"{common.why}; it is left alone until {_clock(rests)}")
        await self._advise(domains)
        turns = await self._turns(domains, asked)
        todo = [turn for turn in turns if turn.reason is not Reason.GOOD and turn.at <= time.time()]
        done = {turn.name: self._quiet(turn) for turn in turns if turn not in todo}
        waiting = list(reversed(todo))

        async def work() -> None:
            while waiting:
                turn = waiting.pop()
                done[turn.name] = await self._one(turn)
                told(len(todo) - len(waiting), len(todo))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.site.config.certificates.at_once, len(todo))):
                group.create_task(work())
        if not self._staging:
            for turn in turns:
                if turn not in todo and turn.name in self._chosen:
                    self._ledger.save(turn.name)  # where its names lead
            summary.write(self._store, self._ledger, self.site.config.certificates.ending_days)
        found = [done[name] for name in domains if name in done]
        return [
            replace(one, why="; ".join([one.why, *notes]).strip("; ")) if at == 0 else one
            for at, one in enumerate(found)
        ]

    # -- what is due -----------------------------------------------------------------------------------------------

    async def _turns(self, domains: Sequence[str], asked: bool) -> list[Turn]:
        """One for each domain, in this order of urgency; those that are GOOD last."""
        now = time.time()
        turns = asyncio.Semaphore(LOOKS)

        async def one(domain: str) -> Turn:
            record, held = self._ledger.of(domain), self._store.read(domain)
            turn = judge(standing(domain, held, record), now, asked=asked)
            looked = now < record.look_at <= now + schedule.DAY  # beyond that a clock was wrong
            if looked and not asked and held is None and not record.wanted:
                return Turn(domain, Reason.GOOD, record.look_at, held=_NOBODY)
            if not asked and (turn.at > now or turn.reason is Reason.GOOD) and (looked or held is None):
                return turn
            async with turns:
                chosen = self._chosen[domain] = await self._look(domain, held)
            turn = judge(standing(domain, held, record, more=bool(chosen.more)), now, asked=asked)
            if not chosen.names and not chosen.left_out:  # all its names are the host's own
                return Turn(domain, Reason.GOOD, 0.0)
            if chosen.names:
                return turn
            held_by = UNKNOWN if set(chosen.left_out.values()) == {UNKNOWN} else _NOBODY
            return Turn(domain, Reason.GOOD, record.look_at, held=held_by)

        found = await asyncio.gather(*map(one, domains))
        settings = self.site.config.certificates
        limits = Limits(settings.orders, settings.order_window)
        ordered = schedule.queue(found, now, () if self._staging else self._ledger.common.orders, limits)
        return [*ordered, *(turn for turn in found if turn.reason is Reason.GOOD)]

    async def _look(self, domain: str, held: Held | None) -> Chosen:
        """Where its service names lead, and what follows for the certificate."""
        now = time.time()
        record = self._ledger.of(domain)
        names = service_names(self.site, domain, self._host_names)
        leads = dict(zip(names, await asyncio.gather(*map(self._leads, names)), strict=True))
        failing = {name: one.why for name, one in record.faults.items() if one.retry_at > now}
        for name, where in leads.items():
            if self._by_dns and where is not Leads.ELSEWHERE and not await self._proofs.ways(domain, name):
                failing[name] = "there is no way to prove it: certificates.challenge is dns, and its DNS is not ours"
        wildcard = ""
        if self.site.config.certificates.wildcard and await self._proofs.ways(domain, f"*.{domain}"):
            wildcard = f"*.{domain}"
        soon = held is None or standing(domain, held, record).left(now) < PRESSING
        chosen = choose(leads, held.names if held else (), failing, ends_soon=soon, wildcard=wildcard)
        if not self._staging:
            record.left_out, record.wanted = dict(chosen.left_out), list(chosen.names)
            record.looks = 0 if UNKNOWN in chosen.left_out.values() else record.looks + 1
            record.look_at = schedule.next_look(record.looks, now, held=held is not None)
        return chosen

    async def _leads(self, name: str) -> Leads:
        try:
            if self._addresses is None:
                own = self.site.config.dns.addresses or await self._resolver.addresses(self.site.config.host)
                self._addresses = frozenset(own)
            found = await self._resolver.addresses(name)
        except TemporaryError:
            return Leads.UNKNOWN
        return Leads.HERE if found and self._addresses.issuperset(found) else Leads.ELSEWHERE

    async def _advise(self, domains: Sequence[str]) -> None:
        """Asks the authority when it would like what it issued to be renewed, as often as it says."""
        now = time.time()
        asked = 0
        for domain in domains:
            record, held = self._ledger.of(domain), self._store.read(domain)
            if self._staging or self._away or held is None or held.not_after <= now or asked >= ADVICES:
                continue
            if record.directory != self._place.directory or record.advice_at > now:
                continue
            asked += 1
            try:
                authority = await self._open()
                try:
                    record.advice, seconds = await asyncio.to_thread(authority.advice, held.pem)
                finally:
                    self._free.append(authority)
            except (PostaneError, ValueError):
                seconds = schedule.HOUR  # advice is welcome, and no more
            record.advice_at = schedule.next_advice(now, seconds)
            await asyncio.to_thread(self._ledger.save, domain)

    # -- one order -------------------------------------------------------------------------------------------------

    async def _one(self, turn: Turn) -> Done:
        domain = turn.name
        if self._away is not None:
            return Done(domain, "waits", turn.reason.value, at=self._ledger.common.resting_until, why=str(self._away))
        record = self._ledger.of(domain)
        held = self._store.read(domain)
        chosen = self._chosen[domain]
        try:
            for _ in range(ROUNDS):
                try:
                    await self._order(domain, chosen, held)
                    break
                except NamesRefusedError as error:
                    self._refused(domain, error)
                    before, chosen = chosen, await self._look(domain, held)
                    self._chosen[domain] = chosen
                    if not chosen.names or set(chosen.names) >= set(before.names):
                        raise
            else:
                raise PermanentError(f"{domain}: the authority refuses one name after the other")
        except PostaneError as error:
            if error is self._shut or isinstance(error, (RateLimitedError, ServiceMissingError, ConfigError)):
                self._rest(error, error.wait if isinstance(error, RateLimitedError) else 0.0)
                return self._failed(turn, chosen, error, counts=False)
            return self._failed(turn, chosen, error)
        except OSError as error:
            return self._failed(turn, chosen, PermanentError(f"{error.filename or domain}: {error.strerror or error}"))
        if self._staging:
            return Done(domain, "tried", turn.reason.value, chosen.names, dict(chosen.left_out))
        record.fault = Fault()
        record.issued_at, record.directory = time.time(), self._place.directory
        record.advice, record.advice_at = None, 0.0
        record.looks = 0
        common = self._ledger.common
        common.issued += 1
        common.failures, common.resting_until, common.why = 0, 0.0, ""
        self._save(domain)
        at = judge(standing(domain, self._store.read(domain), record), time.time()).at
        return Done(domain, "issued", turn.reason.value, tuple(record.names), dict(chosen.left_out), at)

    async def _order(self, domain: str, chosen: Chosen, held: Held | None) -> None:
        names = chosen.names
        record = self._ledger.of(domain)
        key, csr = request.make_request(names)
        mine = held is not None and record.directory == self._place.directory and not self._staging
        authority = await self._open()
        try:
            if not self._staging:
                self._ledger.common.orders = [
                    *(at for at in self._ledger.common.orders if at > time.time() - 7 * schedule.DAY),
                    time.time(),
                ]
                await asyncio.to_thread(self._ledger.save_common)
            replaces = held.pem if held is not None and mine else b""
            order = await asyncio.to_thread(authority.order, names, csr, replaces)
            put: list[tuple[Proof, str]] = []
            try:
                for proof in order.proofs:
                    name = f"*.{proof.name}" if proof.wildcard else proof.name
                    ways = await self._proofs.ways(domain, name)
                    if not ways:
                        raise NamesRefusedError({name: "there is no way to prove it now"})
                    failures = record.faults[name].failures if name in record.faults else 0
                    put.append((proof, ways[failures % len(ways)]))
                    try:
                        await self._proofs.put(domain, *put[-1])
                    except PostaneError as error:
                        if isinstance(error, ConfigError):
                            raise PermanentError(str(error), hint=error.hint) from error
                        raise NamesRefusedError({name: f"its record cannot be put: {error}"}) from error
                for proof, kind in put:
                    await asyncio.to_thread(authority.answer, order, proof, kind)
                await asyncio.to_thread(authority.wait, order)
            finally:
                await self._proofs.take_away(domain, put)
            chain = await asyncio.to_thread(authority.finish, order)
        finally:
            self._free.append(authority)
        request.check_answer(chain, key, names, time.time())
        if not self._staging:
            served = set(service_names(self.site, domain, self._host_names)) - chosen.left_out.keys()
            record.names = sorted(served) if names[0].startswith("*.") else list(names)
            await asyncio.to_thread(self._store.put, domain, record.names, chain, key)

    async def _open(self) -> Authority:
        """An authority that nobody else uses just now. What shuts it to one domain shuts it to all."""
        if self._free:
            return self._free.pop()
        async with self._opening:
            if self._shut is not None:
                raise self._shut
            try:
                return await asyncio.to_thread(Authority, self._place, Path(self.site.config.state))
            except PostaneError as error:
                self._shut = error
                raise

    # -- what comes of it ------------------------------------------------------------------------------------------

    def _refused(self, domain: str, error: NamesRefusedError) -> None:
        """Notes it with each name, so that the others go on without."""
        record, now = self._ledger.of(domain), time.time()
        for name, why in error.names.items():
            wild = f"*.{name}"
            known = name if name in self._chosen[domain].names or wild not in self._chosen[domain].names else wild
            failures = record.faults[known].failures + 1 if known in record.faults else 1
            record.faults[known] = Fault(failures, schedule.retry_at(known, failures, now), why)
        if not self._staging:
            self._ledger.save(domain)

    def _failed(self, turn: Turn, chosen: Chosen, error: PostaneError, *, counts: bool = True) -> Done:
        domain = turn.name
        record, held = self._ledger.of(domain), self._store.read(domain)
        if self._staging:
            return Done(
                domain, "failed", turn.reason.value, chosen.names, dict(chosen.left_out), 0.0, str(error), error
            )
        self._ledger.common.failed += 1
        now = time.time()
        at = self._ledger.common.resting_until
        if counts:
            failures = record.fault.failures + 1
            soon = held is not None and standing(domain, held, record).left(now) < PRESSING
            at = schedule.retry_at(domain, failures, now, pressing=soon)
            record.fault = Fault(failures, at, str(error))
        self._save(domain)
        return Done(domain, "failed", turn.reason.value, chosen.names, dict(chosen.left_out), at, str(error), error)

    def _rest(self, error: PostaneError, wait: float) -> None:
        """The authority as a whole: it is away, or has had enough of us."""
        self._away = error
        if self._staging:
            return
        common = self._ledger.common
        common.failures += 1
        common.resting_until = schedule.rest_until(common.failures, time.time(), wait)
        common.why = str(error)

    def _save(self, domain: str) -> None:
        self._ledger.save(domain)
        self._ledger.save_common()

    def _quiet(self, turn: Turn) -> Done:
        """A domain that nothing is done about in this run."""
        if turn.reason is not Reason.GOOD:
            return held_back(turn)
        if turn.held:
            left_out = dict(self._ledger.of(turn.name).left_out)
            return Done(turn.name, "none", left_out=left_out, at=turn.at, why=turn.held)
        return Done(turn.name, "good", at=turn.at)

    def _forget(self, domains: Sequence[str]) -> None:
        """What is no longer ours goes when it has ended: never what might still be shown by somebody."""
        hosted = set(domains)
        for domain in self._store.domains():
            held = self._store.read(domain)
            if domain not in hosted and (held is None or held.not_after <= time.time()):
                self._store.forget(domain)


def _names_in(path: str) -> tuple[str, ...]:
    """Of the host's own certificate; none where it cannot be read."""
    try:
        leaf = x509.load_pem_x509_certificates(Path(path).read_bytes())[0]
        sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return ()
    return tuple(sans.get_values_for_type(x509.DNSName))


def _plain(held: Held) -> list[str]:
    return [name for name in held.names if not name.startswith("*.")]


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
