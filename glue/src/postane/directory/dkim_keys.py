"""DKIM keys of a domain: made in pairs (RSA-2048 and Ed25519), the private halves in files that only we can read.

Sources: RFC 6376 section 3.6.1 (the key record), RFC 8463 (Ed25519), RFC 8301 (RSA at least 1024, 2048 used).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.directory.key import Key, folder_of
from postane.storage.durable import sync_folder, write_file
from postane.storage.ownership import hand_over
from postane.storage.schema import DkimKey, Domain

ALGORITHMS = ("rsa", "ed25519")


@dataclass(frozen=True, slots=True)
class Pair:
    """A new key: the private half in PEM (PKCS#8), the public one as the `p=` tag wants it."""

    private: bytes
    public: str


def make_keys(
    session: Session, domain: Domain, state: str, prefix: str, ready: Mapping[str, Pair] | None = None
) -> None:
    """One RSA and one Ed25519 key for a domain that has none of the kind; files first, then rows.

    `ready`: pairs by algorithm that were made before the transaction, which an RSA key would hold up for a while.
    """
    rows = session.scalars(select(DkimKey).where(DkimKey.domain_id == domain.id)).all()
    for algorithm in ALGORITHMS:
        if any(row.algorithm == algorithm and row.active for row in rows):
            continue
        selector = _free_selector(f"{prefix}-{algorithm}-", {row.selector for row in rows})
        pair = (ready or {}).get(algorithm) or new_pair(algorithm)
        _make_file(Path(state), domain.name, selector, pair.private)
        session.add(DkimKey(domain_id=domain.id, selector=selector, algorithm=algorithm, public_key=pair.public))


def keys_of(session: Session, domain: str, state: str) -> Sequence[Key]:
    """All keys of a domain, in the order they were made."""
    rows = session.scalars(select(DkimKey).join(Domain).where(Domain.name == domain).order_by(DkimKey.id)).all()
    return [Key.of(state, domain, row.selector, row.algorithm, row.public_key, row.active) for row in rows]


def _free_selector(stem: str, taken: set[str]) -> str:
    number = 1
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def new_pair(algorithm: str) -> Pair:
    """Takes some 60 ms for "rsa"."""
    # Here, not above: most commands make no key, and this library takes a while to load.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if algorithm == "rsa":
        private = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    octets = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(octets, base64.b64encode(public).decode("ascii"))


def _make_file(state: Path, domain: str, selector: str, private: bytes) -> None:
    folder = folder_of(str(state), domain)
    for level in (folder.parents[1], folder.parent, folder):  # keys, dkim, the domain's own
        if not level.exists():
            level.mkdir(mode=0o700, parents=True, exist_ok=True)
            hand_over(level, state)
            sync_folder(level.parent)
    # Whole and on the disk before its row is: a crash leaves no selector without its key.
    write_file(folder / f"{selector}.pem", private, state)
