"""How names are proved to an authority: files that nginx shows, and TXT records at whatever target their DNS has.

A TXT record is noted in the ledger before it is put and until it is gone: what a run that was killed leaves behind the
next one takes away.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postane.admin import dns_targets
from postane.admin.domain_facts import Known, known, lies_in
from postane.admin.site import Site
from postane.core.errors import PermanentError, PostaneError, TemporaryError
from postane.dns.authority import Authority
from postane.dns.records import Record, text_data, text_of
from postane.dns.resolver import NoSuchNameError, Resolver
from postane.dns.targets.base import Target
from postane.filters.auth.public_suffix import by_list
from postane.storage.ownership import hand_over
from postane.tls.acme import DNS, HTTP, Proof
from postane.tls.ledger import Ledger, Left

LABEL = "_acme-challenge"
TTL = 60  # seconds: the next order has another text
_MAX_ALIASES = 8
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}")  # RFC 8555 section 8.3: Base64 for URLs; it becomes a file's name
_STALE = 86_400.0  # seconds after which a file of a challenge is nobody's
_SERVER_SECONDS = 3.0
_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a TXT record goes: `name`, after all aliases, in `zone` at `target`."""

    target: Target
    zone: str
    name: str


class Proofs:
    """One run's."""

    def __init__(self, site: Site, resolver: Resolver, ledger: Ledger) -> None:
        settings = site.config.certificates
        self._site = site
        self._resolver = resolver
        self._ledger = ledger
        self._challenge = settings.challenge
        self._wait = settings.dns_wait
        self._folder = Path(settings.webroot or f"{site.config.state}/acme-challenge")
        self._rows: dict[str, Known] = {}
        self._targets: dict[str, Target] = {}
        self._zones: dict[tuple[str, str], asyncio.Lock] = {}
        self._authority = Authority(_SERVER_SECONDS)

    async def ways(self, domain: str, name: str) -> list[str]:
        """The kinds of challenge by which a name (or "*.name") can be proved, the best first."""
        found = []
        if self._challenge != "dns" and not name.startswith("*."):
            found.append(HTTP)
        if self._challenge != "http" and await self.spot(domain, name.removeprefix("*.")) is not None:
            found.append(DNS)
        return found

    async def spot(self, domain: str, name: str) -> Spot | None:
        """Where the record of a name goes; None where nothing that we can write is asked. Raises ConfigError."""
        if domain not in self._rows:
            self._rows[domain] = (await asyncio.to_thread(known, self._site, [domain]))[0]
        row = self._rows[domain]
        record = f"{LABEL}.{name}"
        for _ in range(_MAX_ALIASES):
            try:
                leads_to = await self._resolver.alias(record)
            except TemporaryError:
                break  # its own servers may be away while the target takes the record all the same
            if not leads_to:
                break
            record = leads_to
        zone, target = await self._zone(row, record)
        return Spot(target, zone, record) if target is not None and target.writable else None

    async def put(self, domain: str, proof: Proof, kind: str) -> None:
        """Raises PermanentError for a token that is none, and what a target raises."""
        if kind == HTTP:
            if proof.http is None:
                raise PermanentError(f"the authority does not take {HTTP} for {proof.name}")
            self._write(*proof.http)
            return
        spot = await self.spot(domain, proof.name)
        if spot is None or not proof.dns:
            raise PermanentError(f"{proof.name} cannot be proved by the DNS now")
        record = Record(spot.name, "TXT", text_data(proof.dns), TTL)
        self._ledger.common.left.append(Left(spot.target.name, spot.zone, record.name, record.data))
        await asyncio.to_thread(self._ledger.save_common)
        async with self._turn(spot.target.name, spot.zone):
            await spot.target.apply(spot.zone, [], [record])
        await self._shown(spot.zone, spot.name, proof.dns)

    async def take_away(self, domain: str, put: Iterable[tuple[Proof, str]]) -> list[str]:
        """Removes what `put` put in place; what cannot be removed now is said, and tried again by the next run."""
        texts = set()
        for proof, kind in put:
            if kind == HTTP and proof.http is not None:
                with suppress(OSError):
                    (self._folder / proof.http[0]).unlink()
            else:
                texts.add(text_data(proof.dns))
        return await self._remove([one for one in self._ledger.common.left if one.data in texts])

    async def clean(self) -> list[str]:
        """Takes away what runs left that were killed."""
        with suppress(OSError):
            for one in self._folder.iterdir():
                if _TOKEN.fullmatch(one.name) and one.stat().st_mtime < time.time() - _STALE:
                    one.unlink(missing_ok=True)
        return await self._remove(list(self._ledger.common.left))

    async def _remove(self, left: Sequence[Left]) -> list[str]:
        said = []
        for one in left:
            try:
                target = self._target(one.target)
                async with self._turn(one.target, one.zone):
                    await target.apply(one.zone, [Record(one.name, "TXT", one.data, TTL)], [])
            except PostaneError as error:
                said.append(f"{one.name} TXT stays for now: {error}")
                continue
            self._ledger.common.left.remove(one)
        if left:
            await asyncio.to_thread(self._ledger.save_common)
        return said

    def _write(self, token: str, text: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise PermanentError(f"the authority gives {token!r} as a token: that is none")
        if not self._folder.exists():
            self._folder.mkdir(mode=0o755, parents=True)
            self._folder.chmod(0o755)
            hand_over(self._folder, Path(self._site.config.state))
        path = self._folder / f".{token}"
        path.write_text(text, "ascii")
        path.chmod(0o644)
        hand_over(path, self._folder)
        path.rename(self._folder / token)

    async def _zone(self, row: Known, record: str) -> tuple[str, Target | None]:
        """The zone of a record and who writes it: the domain's target, or the default one in the provider's zone."""
        domain = row.facts.domain
        if lies_in(record, domain):
            target = self._target(row.target)
            return (domain if target.whole_zones else await self._zone_around(record, domain)), target
        for zone in dict.fromkeys((row.facts.delegation, self._site.config.domains.delegation)):
            if zone and lies_in(record, zone):
                return zone, self._target("")
        return "", None

    async def _zone_around(self, record: str, domain: str) -> str:
        """A domain can lie in a zone above it, or have one of its own; never one that is everybody's."""
        name = record.partition(".")[2]
        while "." in name and by_list()(name):
            try:
                if await self._resolver.name_servers(name):
                    return name
            except NoSuchNameError:
                pass
            except TemporaryError:
                break
            name = name.partition(".")[2]
        return domain

    async def _shown(self, zone: str, name: str, text: str) -> None:
        """Waits until all servers of the zone show it; after the longest wait the authority may judge for itself."""
        end = time.monotonic() + self._wait
        addresses: list[str] = []
        while time.monotonic() < end:
            try:
                if not addresses:
                    for server in await self._resolver.name_servers(zone):
                        addresses += (await self._resolver.addresses(server))[-1:]
                if addresses and all([await self._shows(address, name, text) for address in addresses]):
                    return
            except (TemporaryError, NoSuchNameError):
                pass
            await asyncio.sleep(_PAUSE)

    async def _shows(self, address: str, name: str, text: str) -> bool:
        said = await self._authority.ask(address, name, "TXT")
        return any(text_of(one.data) == text for one in said.records if one.type == "TXT")

    def _target(self, name: str) -> Target:
        name = name or dns_targets.default_name(self._site)
        if name not in self._targets:
            self._targets[name] = dns_targets.target(self._site, name)
        return self._targets[name]

    def _turn(self, target: str, zone: str) -> asyncio.Lock:
        """One change of a zone at a time."""
        return self._zones.setdefault((target, zone), asyncio.Lock())
