"""Whether a zone is signed with what its parent vouches for (RFC 4035 section 5): the DS records and the zone's keys.

Pure. The keys' own signature is checked, not those of single records: it is what a forgotten key change, or a signer
that has stopped, breaks first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.DS import DS

from postane.dns.records import Record

_DIGESTS = {1: "SHA1", 2: "SHA256", 4: "SHA384"}
# RFC 8624 section 3.1: what validators know. A zone signed by nothing of it is taken as unsigned (RFC 4035, 5.2).
_ALGORITHMS = frozenset({5, 7, 8, 10, 13, 14, 15, 16})


def fault(zone: str, vouched: Sequence[Record], answer: dns.message.Message, now: float) -> str:
    """Why validating resolvers refuse the zone, "" if they do not. `answer` is that to a question for its DNSKEY."""
    name = dns.name.from_text(zone)
    known = [one for one in map(_ds, vouched) if one.digest_type in _DIGESTS and one.algorithm in _ALGORITHMS]
    if not known:
        return ""
    keys = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.DNSKEY)
    signature = answer.get_rrset(
        answer.answer, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, covers=dns.rdatatype.DNSKEY
    )
    tags = ", ".join(str(one.key_tag) for one in known)
    if keys is None:
        return f"its parent has a DS record ({tags}), and it has no keys"
    fitting = dns.rrset.RRset(name, dns.rdataclass.IN, dns.rdatatype.DNSKEY)
    for key in keys:
        if any(_made(name, cast(DNSKEY, key), one) == one for one in known):
            fitting.add(key)
    if not fitting:
        return f"the DS record of its parent ({tags}) fits none of its keys"
    if signature is None:
        return "its keys are not signed"
    try:
        dns.dnssec.validate(keys, signature, {name: fitting}, now=now)
    except (dns.exception.DNSException, ValueError) as error:  # one that does not hold, and one that is none
        return f"the signature of its keys does not hold: {str(error) or type(error).__name__}"
    return ""


def _ds(record: Record) -> DS:
    return cast(DS, dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DS, record.data))


def _made(name: dns.name.Name, key: DNSKEY, like: DS) -> DS | None:
    if dns.dnssec.key_id(key) != like.key_tag or key.algorithm != like.algorithm:
        return None
    try:
        return dns.dnssec.make_ds(name, key, _DIGESTS[like.digest_type], validating=True)
    except (dns.exception.DNSException, ValueError):
        return None
