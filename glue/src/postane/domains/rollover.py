"""The TLSA records of the host while its key changes. Pure: files and rows in, records and a word on the next key out.

Servers that send check our key by a TLSA record that they may remember for its TTL (RFC 7672 section 3.1.1, RFC 7671
section 8.1). So a new key is announced beside the present one, and serves only when nobody can remember a set without
it; the record of the key before stays for a TTL, so that the way back is open. A certificate that is renewed with the
key that it has changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

SPREAD = 2  # times the TTL: once until all of the zone's servers have it, once until no cache has what was before


@dataclass(frozen=True, slots=True)
class Announced:
    """TLSA data that Postane has put in: when (seconds since the epoch), and its TTL."""

    data: str
    at: float
    ttl: int


@dataclass(frozen=True, slots=True)
class Keys:
    """TLSA data of the key that serves, since when its certificate is in place, and of the key that is to follow.

    "" is a key that is not there, or cannot be read.
    """

    serves: str = ""
    since: float = 0.0
    follows: str = ""


@dataclass(frozen=True, slots=True)
class Rollover:
    """`records` are pairs (TLSA data, reason). `may_switch`: the next key may serve now; else not before `at`, 0 where
    that is not known. `why` is a sentence for the operator.
    """

    records: tuple[tuple[str, str], ...]
    may_switch: bool = False
    at: float = 0.0
    why: str = "there is no next key"


def decide(keys: Keys, announced: Sequence[Announced], ttl: int, now: float) -> Rollover:
    """`announced` are the host's rows; `ttl` is the one that records get, seconds."""
    made = {one.data: one for one in announced}
    longest = max([ttl, *(one.ttl for one in announced)])
    if not keys.serves:  # whoever asks cannot read the certificate: what stands is left as it is
        kept = tuple((one.data, "stays: the certificate cannot be read here") for one in announced)
        return Rollover(kept, why="the certificate cannot be read")
    records = [(keys.serves, "senders check our certificate with it")]
    until = keys.since + longest
    for data in made:
        if data not in (keys.serves, keys.follows) and now < until:
            records.append(
                (data, f"the key before: stays until {_words(until - now)} from now, when no cache needs it")
            )
    if keys.follows in ("", keys.serves):
        return Rollover(tuple(records))
    own = made.get(keys.follows)
    if own is None:
        records.append((keys.follows, f"the next key: announced {_words(SPREAD * longest)} before it serves"))
        return Rollover(tuple(records), why="the next key is not announced yet: postane domain apply")
    ready = own.at + SPREAD * longest
    if now >= ready:
        records.append((keys.follows, "the next key: may serve now"))
        return Rollover(tuple(records), may_switch=True, at=ready, why="the next key has been announced long enough")
    records.append((keys.follows, f"the next key: may serve in {_words(ready - now)}"))
    return Rollover(tuple(records), at=ready, why=f"the next key has to stand announced for {_words(ready - now)} more")


def tlsa_of(spki: bytes) -> str:
    """DANE-EE, public key, SHA-256: the one form that RFC 7672 section 3.1.1 asks for. `spki` is DER."""
    return f"3 1 1 {hashlib.sha256(spki).hexdigest()}"


def _words(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if minutes < 120 else f"{hours} h" if not rest else f"{hours} h {rest} min"
