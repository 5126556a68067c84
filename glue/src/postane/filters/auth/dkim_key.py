"""Public keys of DKIM and ARC: asked for, read, and used (RFC 6376 sections 3.6.1 and 6.1.2, RFC 8301, RFC 8463).

Several records under one selector are undefined by the standard (section 3.6.2.2): those that are keys are tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils

from postane.core import question
from postane.core.address import MAX_DOMAIN, normal_domain
from postane.core.errors import AddressError
from postane.core.question import Ask, Question
from postane.filters.auth import tags

MIN_RSA = 1024  # bits, RFC 8301 section 3.2
MAX_RSA = 8192  # larger ones only cost us time
_MAX_EXPONENT = 1 << 32
_MAX_RECORDS = 4
_DIGEST = utils.Prehashed(hashes.SHA256())
_KEPT = 1024  # characters; longer records are read each time, so that nobody fills our memory with them


class Result(StrEnum):
    """The words of RFC 8601 section 2.7.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105  (a word of the standard)
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class RefusedError(Exception):
    """A signature that does not pass, and the sentence that says why."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Key:
    """`strict` is the flag s: the signing identity must be of the very domain. `testing` is the flag y."""

    public: rsa.RSAPublicKey | ed25519.Ed25519PublicKey
    strict: bool = False
    testing: bool = False

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """`digest` is the SHA-256 of what was signed."""
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, digest, padding.PKCS1v15(), _DIGEST)
            else:
                self.public.verify(signature, digest)  # RFC 8463 section 3: PureEdDSA over the SHA-256 of the data
        except (InvalidSignature, ValueError):
            return False
        return True


Answer = tuple[Key, ...] | RefusedError


def name_of(selector: str, domain: str) -> str:
    """Where a key stands, `domain` being A-labels already. Raises RefusedError for what is no name."""
    try:
        name = f"{normal_domain(selector)}._domainkey.{domain}"
    except AddressError as error:
        raise RefusedError(Result.PERMERROR, "s= is no domain name") from error
    if len(name) > MAX_DOMAIN:
        raise RefusedError(Result.PERMERROR, "s= and d= together are too long a name")
    return name


async def fetch(wanted: Iterable[tuple[str, str]], ask: Ask) -> Mapping[tuple[str, str], Answer]:
    """The keys for pairs of name and algorithm ("rsa", "ed25519"), all asked for at once; each name once."""
    pairs = list(dict.fromkeys(wanted))
    names = list(dict.fromkeys(name for name, _ in pairs))
    given = await asyncio.gather(*(ask(Question(name, "TXT")) for name in names))
    answers = dict(zip(names, given, strict=True))
    return {(name, algorithm): _keys(answers[name], algorithm) for name, algorithm in pairs}


def _keys(answer: question.Answer, algorithm: str) -> Answer:
    if answer.failed:
        return RefusedError(Result.TEMPERROR, answer.failed)
    keys: list[Key] = []
    refused: RefusedError | None = None
    for record in answer.records[:_MAX_RECORDS]:
        try:
            keys.append((_read_again if len(record) <= _KEPT else read)(record, algorithm))
        except RefusedError as error:
            refused = refused or error
    return tuple(keys) or refused or RefusedError(Result.PERMERROR, "no key for the signature")


def read(record: str, algorithm: str) -> Key:
    """A key record (section 3.6.1). Raises RefusedError, with the text of section 6.1.2 where it has one."""
    try:
        found = tags.parse(record.encode())
    except (tags.TagError, UnicodeEncodeError) as error:
        raise RefusedError(Result.PERMERROR, f"key syntax error: {error}") from error
    if found.get("v", "DKIM1") != "DKIM1" or ("v" in found and next(iter(found)) != "v"):
        raise RefusedError(Result.PERMERROR, "key syntax error: v= must come first and be DKIM1")
    if "p" not in found:
        raise RefusedError(Result.PERMERROR, "key syntax error: no p=")
    if not found["p"]:
        raise RefusedError(Result.PERMERROR, "key revoked")
    if "h" in found and "sha256" not in tags.names(found["h"]):
        raise RefusedError(Result.PERMERROR, "inappropriate hash algorithm")
    if not {"*", "email"} & set(tags.names(found.get("s", "*"))):
        raise RefusedError(Result.PERMERROR, "inappropriate key service type")
    if tags.packed(found.get("k", "rsa")) != algorithm:
        raise RefusedError(Result.PERMERROR, "inappropriate key algorithm")
    flags = tags.names(found.get("t", ""))
    try:
        public = _public(tags.octets(found["p"]), algorithm)
    except (tags.TagError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RefusedError(Result.PERMERROR, "key syntax error: p= is no public key") from error
    return Key(public, "s" in flags, "y" in flags)


_read_again = lru_cache(1024)(read)  # large senders sign all their mail with one key


def _public(octets: bytes, algorithm: str) -> rsa.RSAPublicKey | ed25519.Ed25519PublicKey:
    """Raises ValueError for what is no key, RefusedError for one that is not good enough."""
    if algorithm == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(octets)
    # SubjectPublicKeyInfo as everybody publishes it, or the bare RSAPublicKey that section 3.6.1 speaks of.
    public = serialization.load_der_public_key(octets)
    if not isinstance(public, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")
    if public.key_size < MIN_RSA:
        raise RefusedError(Result.POLICY, f"an RSA key of {public.key_size} bits is too short")
    if public.key_size > MAX_RSA or public.public_numbers().e > _MAX_EXPONENT:
        raise RefusedError(Result.POLICY, f"an RSA key of {public.key_size} bits is not accepted")
    return public
