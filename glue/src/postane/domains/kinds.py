"""The kinds of record that a domain's life needs, when each is due, and which standing records compete with one.

Pure. The operator chooses which kinds Postane keeps (`domains.kinds`, and for a single domain).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from postane.core.errors import ConfigError
from postane.dns.records import Record, canonical, text_of


class Kind(StrEnum):
    """The word is the one of the configuration and of the plan's lines."""

    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    MTA_STS = "mta_sts"
    TLS_RPT = "tls_rpt"
    AUTOCONFIG = "autoconfig"
    AUTODISCOVER = "autodiscover"
    SRV = "srv"
    PACC = "pacc"  # a draft still: kept only where it is asked for
    CAA = "caa"
    TLSA = "tlsa"
    VERIFICATION = "verification"
    ADDRESS = "address"
    ACME = "acme"  # the name that challenges of certificates are answered at; with delegation only
    REVERSE = "reverse"  # told, never written: the zone is the address holder's


ALL = frozenset(Kind)
DEFAULT = ALL - {Kind.PACC}

# Before the owner has proved anything only the proof is due; before the MX is ours nothing may stand that would send
# clients or servers to us for mail that lies elsewhere.
_CLAIMED = frozenset({Kind.VERIFICATION})
_SHADOW = _CLAIMED | {Kind.SPF, Kind.DKIM, Kind.CAA, Kind.ACME, Kind.ADDRESS, Kind.TLSA, Kind.REVERSE}
DUE: dict[str, frozenset[Kind]] = {
    "claimed": _CLAIMED,
    "verified": _CLAIMED,
    "shadow": _SHADOW,
    "cutover": ALL,
    "hardened": ALL,
    "suspended": ALL,
    "leaving": ALL,
    "removed": frozenset(),
}

# Of TXT records with these at their beginning a name has one: receivers take none of two.
_SINGLE = {
    Kind.SPF: ("v=spf1",),
    Kind.DMARC: ("v=dmarc1",),
    Kind.MTA_STS: ("v=stsv1",),
    Kind.TLS_RPT: ("v=tlsrptv1",),
}


def chosen(names: Iterable[str]) -> frozenset[Kind]:
    """The kinds of a list of words; empty: the default ones. Raises ConfigError for a word that is none."""
    words = list(names)
    try:
        return frozenset(map(Kind, words)) or DEFAULT
    except ValueError as error:
        raise ConfigError(f"{error} of record", hint=f"kinds are {', '.join(sorted(ALL))}") from error


def competes(kind: Kind, record: Record, standing: Record) -> bool:
    """True if `standing` cannot stay, or has no effect, beside `record`, which is wanted as `kind`."""
    if record.name != standing.name or canonical(record) == canonical(standing):
        return False
    if "CNAME" in (record.type, standing.type):
        return True  # RFC 1034 section 3.6.2: an alias stands alone, and there is one of it
    if record.type != standing.type:
        return False
    if kind in _SINGLE:
        text = text_of(standing.data).lower()
        return any(text == tag or text.startswith((f"{tag} ", f"{tag};")) for tag in _SINGLE[kind])
    return kind in (Kind.MX, Kind.DKIM, Kind.SRV, Kind.ADDRESS, Kind.AUTOCONFIG, Kind.AUTODISCOVER, Kind.PACC)
