"""Who a message says it is from, and what of that is proven. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.filters.auth.authenticate import Authentication
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc import Evaluation
from postane.filters.auth.from_header import FromError, author
from postane.filters.auth.message import Message, split

_MAX_FIELDS = 20
_MAX_OCTETS = 8 * 1024  # of one field
_MAX_CLAIMS = 50  # addresses in unclear From fields
_ANY_ADDRESS = re.compile(r"[^\s<>()\",;:@\\\[\]]{1,64}@[\w.-]{1,253}")


class Proof(Enum):
    """Whether an address is the sender's. UNKNOWN: it cannot be found out now."""

    YES = 1
    NO = 0
    UNKNOWN = -1


_ORDER = [Proof.NO, Proof.UNKNOWN, Proof.YES]


def authors(header: bytes) -> tuple[Address | None, list[Address]]:
    """The one author, if From is clear; and all addresses that some program may show as the author's."""
    fields = split(header)
    try:
        one = author(Message(fields, {})).address
    except FromError:
        unclear = [field.value[:_MAX_OCTETS] for field in fields if field.name.strip() == b"from"][:_MAX_FIELDS]
        claims: dict[str, Address] = {}
        for text in _ANY_ADDRESS.findall(b" ".join(unclear).decode("utf-8", "replace"))[:_MAX_CLAIMS]:
            try:
                found = Address.parse(text)
            except AddressError:
                continue
            claims.setdefault(found.key, found)
        return None, list(claims.values())
    return one, [one]


def by_spf(result: str) -> Proof:
    """What SPF's result for the envelope sender makes of it."""
    return {"pass": Proof.YES, "temperror": Proof.UNKNOWN}.get(result, Proof.NO)


def proofs(found: Authentication, sender: str, clear: Address | None) -> dict[str, Proof]:
    """By normal form: SPF proves the envelope sender; DMARC, or SPF or a signature of the very domain, the one author.

    What people see is From: a sender who shows there an author whose domain does not want it, or nobody clear, has
    proven nothing by SPF. Addresses that are not in it are not proven.
    """
    spf = min(by_spf(found.spf.result.value), _shown_rightly(found.dmarc), key=_ORDER.index)
    envelope = Address.parse(sender) if sender else None
    proven: dict[str, Proof] = {}
    if clear is not None:
        said = [by_spf(str(found.dmarc.result))]
        said += [by_spf(str(one.result)) for one in found.dkim if one.domain == clear.key_domain]
        if envelope is not None and envelope.key_domain == clear.key_domain:
            said.append(by_spf(found.spf.result.value))
        proven[clear.key] = _best(said)
    if envelope is not None:
        proven[envelope.key] = _best([spf, proven.get(envelope.key, Proof.NO)])
    return proven


def _shown_rightly(dmarc: Evaluation) -> Proof:
    """Whether the author's domain has nothing against what From shows."""
    if dmarc.result is Result.PERMERROR or dmarc.disposition != "none":
        return Proof.NO
    return Proof.UNKNOWN if dmarc.result is Result.TEMPERROR else Proof.YES


def _best(said: Iterable[Proof]) -> Proof:
    return max(said, key=_ORDER.index)
