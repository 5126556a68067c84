"""Verifies the chain of ARC sets of a message (RFC 8617 section 5.2).

`none`: no sets. `pass`: every seal holds, and the newest ARC-Message-Signature covers the message as it is now.
`fail`: anything else, a broken structure or a key that cannot be asked for now among it: the standard knows no
fourth word, and `temporary` tells them apart.

Sans I/O but for the injected question; never raises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postane.core.ports import Now
from postane.core.question import Ask
from postane.filters.auth import tags
from postane.filters.auth.dkim import Signature, algorithm, check, domain_of, overexposed, parse, unsigned
from postane.filters.auth.dkim_key import Answer, RefusedError, Result, fetch, name_of
from postane.filters.auth.message import MAX_INSTANCES, MAX_SIGNATURES, Field, Message

_RESULTS, _SIGNATURE, _SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"
_PARTS = (_RESULTS, _SIGNATURE, _SEAL)
_CFWS = rb"(?:[ \t\r\n]|\([^()\\]{0,200}\))*"
_INSTANCE = re.compile(_CFWS + rb"i" + _CFWS + rb"=" + _CFWS + rb"([0-9]{1,2})" + _CFWS + rb";")


@dataclass(frozen=True, slots=True)
class Chain:
    """`sealers` are the domains of the seals, `results` the values of ARC-Authentication-Results without their i=, both
    oldest first. `oldest_pass` is that of section 5.2 step 5: the lowest set whose signature still holds, 0 if all do.
    """

    cv: Result
    instances: int = 0
    reason: str = ""
    sealers: tuple[str, ...] = ()
    oldest_pass: int = 0
    results: tuple[bytes, ...] = ()
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class _Seal:
    key: tuple[str, str]
    domain: str
    value: bytes
    cv: str


@dataclass(frozen=True, slots=True)
class _Set:
    results: Field
    signature: Field
    seal: Field


async def verify(message: Message, ask: Ask, now: Now) -> Chain:
    """The state of the chain; each name is asked for once, all of them at once."""
    fields = [field for field in message.fields if field.name in _PARTS]
    if not fields:
        return Chain(Result.FAIL, 0, message.problem) if message.problem else Chain(Result.NONE)
    try:
        sets = _sets(fields)
    except RefusedError as refused:
        return Chain(Result.FAIL, _count(fields), refused.reason)
    try:
        seals = [_seal(number, one.seal) for number, one in enumerate(sets, 1)]
        # Section 5.2 step 2, before any work: who sealed last says it was broken when it came.
        if seals[-1].cv == "fail":
            raise RefusedError(Result.FAIL, f"the newest seal, of {seals[-1].domain}, says cv=fail")
        _check_structure(seals)
        newest = _newest(sets[-1], now())
        older = [_older(one, now()) for one in sets[-2::-1][:MAX_SIGNATURES]]
        keys = await fetch([newest.key, *(seal.key for seal in seals)], ask)
        _check_signature(newest, message, keys)
        digests = _sealed(sets)
        for number in range(len(sets), 0, -1):
            _check_seal(number, digests[number - 1], seals[number - 1], keys)
    except RefusedError as refused:
        return Chain(Result.FAIL, len(sets), refused.reason, temporary=refused.result is Result.TEMPERROR)
    # Only a good chain is worth the questions about its older signatures; most share their keys with the seals.
    # The step is optional, and each signature may cover the whole header: as many as of DKIM are tried.
    missing = [one.key for one in older if one is not None and one.key not in keys]
    keys = {**keys, **await fetch(missing, ask)}
    oldest = len(sets)
    for signature in older:
        if not _still_holds(signature, message, keys):
            break
        oldest -= 1
    results = tuple(_INSTANCE.sub(b"", one.results.value, count=1) for one in sets)
    return Chain(
        Result.PASS, len(sets), "", tuple(seal.domain for seal in seals), 0 if oldest == 1 else oldest, results
    )


def _sets(fields: Sequence[Field]) -> list[_Set]:
    """The sets in order (step 3A to 3C): each whole and once, numbered from 1 without a gap."""
    found: dict[int, dict[bytes, Field]] = {}
    for field in fields:
        number = _instance(field)
        if not 1 <= number <= MAX_INSTANCES:
            raise RefusedError(Result.FAIL, f"{field.name.decode()} without an i= from 1 to {MAX_INSTANCES}")
        if found.setdefault(number, {}).setdefault(field.name, field) is not field:
            raise RefusedError(Result.FAIL, f"two {field.name.decode()} of instance {number}")
    if len(found) != max(found):
        raise RefusedError(Result.FAIL, f"{len(found)} instances, the highest is {max(found)}")
    sets = []
    for number in range(1, len(found) + 1):
        for name in _PARTS:
            if name not in found[number]:
                raise RefusedError(Result.FAIL, f"instance {number} has no {name.decode()}")
        sets.append(_Set(*(found[number][name] for name in _PARTS)))
    return sets


def _count(fields: Sequence[Field]) -> int:
    return len({_instance(field) for field in fields} - {0})


def _instance(field: Field) -> int:
    """The number in i=, 0 where there is none. In ARC-Authentication-Results it comes first (section 4.1.1)."""
    if field.name == _RESULTS:
        match = _INSTANCE.match(field.value)
        return int(match[1]) if match else 0
    try:
        return tags.number(tags.parse(field.value).get("i", ""), 1000)
    except tags.TagError:
        return 0


def _seal(number: int, field: Field) -> _Seal:
    """The tags of an ARC-Seal (section 4.1.3). Raises RefusedError."""
    try:
        found = tags.parse(field.value)
        for tag in ("a", "b", "cv", "d", "s"):
            if tag not in found:
                raise RefusedError(Result.FAIL, f"seal {number}: no {tag}=")
        if "h" in found or "bh" in found:
            raise RefusedError(Result.FAIL, f"seal {number}: h= and bh= have no place in it")
        domain = domain_of(found["d"])
        key = name_of(tags.packed(found["s"]), domain), algorithm(found["a"])
        if "t" in found:
            tags.number(found["t"])
        return _Seal(key, domain, tags.octets(found["b"]), tags.packed(found["cv"]).lower())
    except tags.TagError as error:
        raise RefusedError(Result.FAIL, f"seal {number}: syntax error: {error}") from error
    except RefusedError as refused:
        reason = refused.reason if refused.reason.startswith("seal ") else f"seal {number}: {refused.reason}"
        raise RefusedError(Result.FAIL, reason) from refused


def _check_structure(seals: Sequence[_Seal]) -> None:
    """Step 3D: the first saw no chain, each other one saw a good one. Raises RefusedError."""
    for number, seal in enumerate(seals, 1):
        wanted = "none" if number == 1 else "pass"
        if seal.cv != wanted:
            raise RefusedError(Result.FAIL, f"seal {number} says cv={seal.cv} where cv={wanted} belongs")


def _newest(one: _Set, now: float) -> Signature:
    try:
        return _message_signature(one, now)
    except RefusedError as refused:
        raise RefusedError(Result.FAIL, f"ARC-Message-Signature: {refused.reason}") from refused


def _message_signature(one: _Set, now: float) -> Signature:
    signature = parse(one.signature, now, arc=True)
    if _SEAL in signature.headers:
        raise RefusedError(Result.FAIL, "signs ARC-Seal fields")  # section 4.1.2
    _ = signature.key
    return signature


def _older(one: _Set, now: float) -> Signature | None:
    try:
        return _message_signature(one, now)
    except RefusedError:
        return None


def _check_signature(signature: Signature, message: Message, keys: Mapping[tuple[str, str], Answer]) -> None:
    try:
        check(signature, message, keys[signature.key])
        overexposed(signature, message)
    except RefusedError as refused:
        raise RefusedError(refused.result, f"ARC-Message-Signature: {refused.reason}") from refused


def _still_holds(signature: Signature | None, message: Message, keys: Mapping[tuple[str, str], Answer]) -> bool:
    if signature is None:
        return False
    try:
        _check_signature(signature, message, keys)
    except RefusedError:
        return False
    return True


def _sealed(sets: Sequence[_Set]) -> list[bytes]:
    """For each seal the SHA-256 of what it covers: all sets up to its own in relaxed form, in order, itself with an
    empty b= (section 5.1.1)."""
    digests = []
    before = hashlib.sha256()
    for one in sets:
        before.update(one.results.canonical(relaxed=True))
        before.update(one.signature.canonical(relaxed=True))
        sealed = before.copy()
        sealed.update(unsigned(one.seal, relaxed=True))
        digests.append(sealed.digest())
        before.update(one.seal.canonical(relaxed=True))
    return digests


def _check_seal(number: int, digest: bytes, seal: _Seal, keys: Mapping[tuple[str, str], Answer]) -> None:
    """Step 6. Raises RefusedError."""
    answer = keys[seal.key]
    if isinstance(answer, RefusedError):
        raise RefusedError(answer.result, f"seal {number}: {answer.reason}")
    if not any(key.verifies(seal.value, digest) for key in answer):
        raise RefusedError(Result.FAIL, f"seal {number} did not verify")
