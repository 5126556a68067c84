"""Verifies the DKIM signatures of a message (RFC 6376 section 6.1), each to a word of RFC 8601 section 2.7.1.

* `neutral`: the signature's text cannot be read. `permerror`: it can, and can never verify (no key, revoked, expired,
  From not signed, rsa-sha1 by RFC 8301). `temperror`: the key cannot be asked for now. `fail`: text or headers differ.
* `policy`: it verifies, and yet proves too little: an RSA key under 1024 bits, an `l=` that leaves text unsigned, or
  a header that may stand once stands again without being signed.

Sans I/O but for the injected question. Text is never trusted: whatever stands in a message, nothing here raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from postane.core.address import normal_domain
from postane.core.errors import AddressError
from postane.core.ports import Now
from postane.core.question import Ask
from postane.filters.auth import tags
from postane.filters.auth.dkim_key import Answer, RefusedError, Result, fetch, name_of
from postane.filters.auth.message import MAX_SIGNATURES, Field, Message, canonicalization

_SKEW = 300  # seconds that a signer's clock may be ahead of ours
_REQUIRED = ("v", "a", "b", "bh", "d", "h", "s")
_ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}

# RFC 5322 section 3.6: at most one of each. A second one that no signature covers may be what a reader is shown.
_ALWAYS = (b"from", b"subject")
_IF_SIGNED = (
    *(b"date", b"sender", b"reply-to", b"to", b"cc", b"message-id"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
)


@dataclass(frozen=True, slots=True)
class Signed:
    """What became of one signature. `domain` is d= as A-labels, `selector` s=, `start` the first characters of b=."""

    domain: str
    selector: str
    result: Result
    reason: str = ""
    start: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """The tags of a DKIM-Signature or ARC-Message-Signature that can be checked. `length` is l=."""

    field: Field
    key_type: str
    domain: str
    selector: str
    identity: str  # the domain of i=
    headers: tuple[bytes, ...]
    relaxed: tuple[bool, bool]  # headers, body
    body_hash: bytes
    value: bytes
    length: int | None

    @property
    def key(self) -> tuple[str, str]:
        """Name and algorithm, as `fetch` wants them. Raises RefusedError."""
        return name_of(self.selector, self.domain), self.key_type


async def verify(message: Message, ask: Ask, now: Now) -> list[Signed]:
    """Every signature from the top, at most MAX_SIGNATURES."""
    fields = message.named(b"dkim-signature")[:MAX_SIGNATURES]
    ready: list[Signature | RefusedError] = []
    for field in fields:
        try:
            signature = parse(field, now())
            _ = signature.key
            ready.append(signature)
        except RefusedError as refused:
            ready.append(refused)
    keys = await fetch((one.key for one in ready if isinstance(one, Signature)), ask)
    return [_signed(field, one, message, keys) for field, one in zip(fields, ready, strict=True)]


def _signed(
    field: Field, one: Signature | RefusedError, message: Message, keys: Mapping[tuple[str, str], Answer]
) -> Signed:
    domain, selector, start = _shown(field)
    try:
        if isinstance(one, RefusedError):
            raise one
        testing = check(one, message, keys[one.key])
        overexposed(one, message)
    except RefusedError as refused:
        return Signed(domain, selector, refused.result, refused.reason, start)
    return Signed(domain, selector, Result.PASS, "the domain is testing its keys" if testing else "", start)


def parse(field: Field, now: float, *, arc: bool = False) -> Signature:
    """Raises RefusedError. With `arc` an ARC-Message-Signature, RFC 8617 section 4.1.2: no v=, and i= is the set."""
    try:
        found = tags.parse(field.value)
        relaxed = canonicalization(found.get("c", ""))
        for tag in _REQUIRED[arc:]:
            if tag not in found:
                raise RefusedError(Result.PERMERROR, f"no {tag}=")
        if not arc and found["v"] != "1":
            raise RefusedError(Result.PERMERROR, "incompatible version")
        key_type = algorithm(found["a"])
        domain = domain_of(found["d"])
        identity = domain if arc else _identity(found.get("i", ""), domain)
        headers = tuple(name.encode() for name in tags.names(found["h"]))
        if b"from" not in headers:
            raise RefusedError(Result.PERMERROR, "From field not signed")
        if "dns/txt" not in tags.names(found.get("q", "dns/txt")):
            raise RefusedError(Result.PERMERROR, "q= names no method that is known")
        _check_times(found, now)
        length = tags.number(found["l"]) if "l" in found else None
        body_hash, value = tags.octets(found["bh"]), tags.octets(found["b"])
    except tags.TagError as error:
        raise RefusedError(Result.NEUTRAL, f"signature syntax error: {error}") from error
    return Signature(
        field, key_type, domain, tags.packed(found["s"]), identity, headers, relaxed, body_hash, value, length
    )


def algorithm(value: str) -> str:
    """The type of key for an a= tag. Raises RefusedError."""
    name = tags.packed(value).lower()
    if name == "rsa-sha1":
        raise RefusedError(Result.PERMERROR, "rsa-sha1 proves nothing any more (RFC 8301)")
    if name not in _ALGORITHMS:
        raise RefusedError(Result.PERMERROR, "a= is no algorithm that is known")
    return _ALGORITHMS[name]


def domain_of(value: str) -> str:
    """A d= tag as A-labels. Raises RefusedError."""
    try:
        return normal_domain(tags.packed(value))
    except AddressError as error:
        raise RefusedError(Result.PERMERROR, "d= is no domain name") from error


def _identity(value: str, domain: str) -> str:
    """The domain of an i= tag: d= or below it (section 6.1.1)."""
    if not value:
        return domain
    _, at, host = tags.packed(value).rpartition("@")
    try:
        identity = normal_domain(host)
    except AddressError:
        identity = ""
    if not at or (identity != domain and not identity.endswith("." + domain)):
        raise RefusedError(Result.PERMERROR, "domain mismatch: i= is not within d=")
    return identity


def _check_times(found: Mapping[str, str], now: float) -> None:
    signed = tags.number(found["t"]) if "t" in found else 0
    if signed > now + _SKEW:
        raise RefusedError(Result.PERMERROR, "signed in the future")
    if "x" in found:
        expires = tags.number(found["x"])
        if expires <= signed:
            raise RefusedError(Result.PERMERROR, "x= is not later than t=")
        if expires < now:
            raise RefusedError(Result.PERMERROR, "signature expired")


def check(signature: Signature, message: Message, keys: Answer) -> bool:
    """Raises RefusedError unless body and headers are what was signed; else tells whether the key is in test mode."""
    if isinstance(keys, RefusedError):
        raise keys
    body = message.bodies[signature.relaxed[1]]
    digest = body.digests.get(signature.length)
    if digest is None:
        raise RefusedError(Result.FAIL, "the body is shorter than l=")
    if digest != signature.body_hash:
        raise RefusedError(Result.FAIL, "body hash did not verify")
    fitting = [key for key in keys if not key.strict or signature.identity == signature.domain]
    if not fitting:
        raise RefusedError(Result.PERMERROR, "domain mismatch: the key is for the very domain of d= (t=s)")
    signed = signed_digest(signature, message)
    for key in fitting:
        if key.verifies(signature.value, signed):
            return key.testing
    raise RefusedError(Result.FAIL, "signature did not verify")


def signed_digest(signature: Signature, message: Message) -> bytes:
    """SHA-256 of what is signed (section 3.7): of several fields of one name the lowest comes first (5.4.2)."""
    relaxed = signature.relaxed[0]
    left = {
        name: [field for field in message.named(name) if field is not signature.field]
        for name in set(signature.headers)
    }
    signed = hashlib.sha256()
    for name in signature.headers:
        if left[name]:
            signed.update(left[name].pop().canonical(relaxed=relaxed))
    signed.update(unsigned(signature.field, relaxed=relaxed))
    return signed.digest()


def unsigned(field: Field, *, relaxed: bool) -> bytes:
    """A signature field as it was signed: with an empty b= and no CRLF at its end."""
    name, colon, value = field.raw.partition(b":")
    bare = Field(field.name, name + colon + tags.without_value(value, b"b"))
    return bare.canonical(relaxed=relaxed).removesuffix(b"\r\n")


def overexposed(signature: Signature, message: Message) -> None:
    """Raises RefusedError (policy) where something that a reader sees could have been added after signing."""
    body = message.bodies[signature.relaxed[1]]
    if signature.length is not None and signature.length < body.size:
        raise RefusedError(Result.POLICY, f"l= leaves {body.size - signature.length} octets of the body unsigned")
    for name in (*_ALWAYS, *_IF_SIGNED):
        count = len(message.named(name))
        covered = signature.headers.count(name)
        if count > max(covered, 1) and (covered or name in _ALWAYS):
            raise RefusedError(Result.POLICY, f"{count} {name.decode()} fields, {covered} of them signed")


def _shown(field: Field) -> tuple[str, str, str]:
    """Domain, selector and the start of b=, of a signature in whatever state."""
    try:
        found = tags.parse(field.value)
    except tags.TagError:
        return "", "", ""
    try:
        domain = domain_of(found.get("d", ""))
    except RefusedError:
        domain = tags.packed(found.get("d", ""))
    return domain, tags.packed(found.get("s", "")), tags.packed(found.get("b", ""))[:8]
