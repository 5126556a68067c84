"""The host's key as TLSA records tell of it: the one that serves, the one that is to follow, and when it may.

Beside the host's certificate (fullchain.pem, privkey.pem) lie, while a change of key is under way:

    next.key    the next private key, for whoever makes the certificate
    next.pem    its public key (SubjectPublicKeyInfo), for all to read; put there when next.key is whole
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import select

from postane.admin.site import Site
from postane.core.address import normal_domain
from postane.core.errors import TemporaryError
from postane.dns.records import Record, canonical
from postane.dns.secured import SecuredResolver
from postane.domains.desired import tlsa_data
from postane.domains.kinds import Kind
from postane.domains.rollover import SPREAD, Announced, Keys, Rollover, decide, tlsa_of
from postane.storage.schema import OwnedRecord

NEXT = "next.pem"


def keys_of(site: Site) -> Keys:
    """What the files say; what cannot be read is ""."""
    certificate = Path(site.config.tls.certificate)
    try:
        serves, since = tlsa_data(certificate.read_bytes()), certificate.stat().st_mtime
    except (OSError, ValueError):
        serves, since = "", 0.0
    try:
        key = load_pem_public_key((certificate.parent / NEXT).read_bytes())
        follows = tlsa_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (OSError, ValueError):
        follows = ""
    return Keys(serves, since, follows)


def decided(site: Site, keys: Keys, rows: Iterable[OwnedRecord], ttl: int) -> Rollover:
    """`rows` are those of the domain that the host lies in; of others nothing follows."""
    name = _name(site)
    announced = [
        Announced(canonical(Record(row.name, row.type, row.data))[2], row.made_at, row.ttl)
        for row in rows
        if row.kind == Kind.TLSA and row.name == name
    ]
    return decide(keys, announced, ttl, time.time())


def rollover(site: Site, by_hand_since: float = 0.0) -> Rollover:
    """Whether the next key may serve, by what we did and by what the resolver says now.

    `by_hand_since`: when its record was put in by hand (seconds since the epoch), where Postane did not. A host of
    which no TLSA record stands may change its key at once. Raises TemporaryError where the DNS cannot be asked.
    """
    keys = keys_of(site)
    with site.database.session() as session:
        rows = list(session.scalars(select(OwnedRecord).where(OwnedRecord.kind == str(Kind.TLSA))))
    ttl = site.config.domains.ttl
    found = decided(site, keys, rows, ttl)
    if not keys.serves or keys.follows in ("", keys.serves):
        return found
    standing = asyncio.run(_standing(site))
    if not standing:
        why = "no TLSA record stands: nobody checks the key"
        return Rollover(found.records, True, why=why) if not rows else Rollover(found.records, why=f"{why}, but should")
    if keys.follows not in standing:
        return Rollover(found.records, why="the next key's record does not stand: postane domain apply")
    if any(canonical(Record(row.name, row.type, row.data))[2] == keys.follows for row in rows):
        return found
    ready = by_hand_since + SPREAD * ttl
    if not by_hand_since:
        why = "the next key's record was put in by hand: say since when (--since)"
        return Rollover(found.records, why=why)
    may = time.time() >= ready
    return Rollover(found.records, may, ready, "put in by hand long enough ago" if may else "put in by hand just now")


async def _standing(site: Site) -> set[str]:
    name = _name(site)
    try:
        said = await SecuredResolver(site.config.dns).secured(name, "TLSA")
    except TemporaryError as error:
        raise TemporaryError(f"it is not known which TLSA records stand: {error}", hint="try again later") from error
    return {canonical(Record(name, "TLSA", one))[2] for one in said.records}


def _name(site: Site) -> str:
    return f"_25._tcp.{normal_domain(site.config.host)}"
