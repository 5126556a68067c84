"""The records that a domain should have now, each with its reason. Pure: facts in, records out.

Sources: RFC 7208 (SPF), RFC 6376 (DKIM), RFC 9989 (DMARC), RFC 8461 (MTA-STS), RFC 8460 (TLS-RPT), RFC 6186, 8314 and
5804 (SRV), RFC 8659 (CAA), RFC 7672 (TLSA for SMTP).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address

from postane.clients.pacc import LABEL as PACC_LABEL
from postane.dns.records import SERVICES, TTL, Record, text_data
from postane.domains.kinds import ALL, DUE, Kind
from postane.domains.life import MOVING_TTL, State
from postane.domains.rollover import tlsa_of
from postane.domains.spf import VERSION, Ours

VERIFICATION_NAME = "_postane-challenge"
VERIFICATION_TAG = "postane-verification="


@dataclass(frozen=True, slots=True)
class Service:
    """A service that clients look for by SRV; `port` 0 says that there is none (RFC 6186 section 3.4).

    `host` "" is the mail host.
    """

    name: str
    port: int
    priority: int = 0
    weight: int = 1
    host: str = ""


# TLS from the first octet before STARTTLS, as RFC 8314 section 5.1 has it.
CLIENT_SERVICES = (
    Service("_submissions._tcp", 465, 0),
    Service("_submission._tcp", 587, 10),
    Service("_imaps._tcp", 993, 0),
    Service("_pop3s._tcp", 995, 10),
    Service("_sieve._tcp", 4190, 0),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the records follow from. Names are A-labels without the last dot.

    `keys` are pairs (selector, text of the key record). `mta_sts` and `dmarc` are modes ("none" … "enforce", "none" …
    "reject"); `delegation` is the provider's zone that the customer's CNAMEs lead into, "" for records in the domain's
    own zone. `spf` says how our servers are named: "mx", "a", "include:NAME" or "ip". `issuers` are those of our
    certificates. `tlsa` is the data of the host's TLSA records, each with its reason (domains.rollover). `token` is the
    proof that is waited for, "" if none. `moving`: its mail was another's before, whose MX may come back as long as it
    is in cutover. `pacc` is the text that vouches for the PACC document. `reverse` tells for each address what name it
    has in the DNS, None where that is not known.
    """

    domain: str
    host: str
    keys: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()
    state: str = "cutover"
    kinds: frozenset[Kind] = ALL
    spf: str = "mx"
    dmarc: str = "none"
    dmarc_reports: str = ""
    mta_sts: str = "testing"
    mta_sts_id: str = ""
    tls_reports: str = ""
    issuers: tuple[str, ...] = ("letsencrypt.org",)
    tlsa: tuple[tuple[str, str], ...] = ()
    token: str = ""
    delegation: str = ""
    services: tuple[Service, ...] = CLIENT_SERVICES
    pacc: str = ""
    ttl: int = TTL
    moving: bool = False
    reverse: tuple[tuple[str, tuple[str, ...] | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """`merge`: foreign words or records stay, ours come to them. `yields`: a foreign record of the kind will do.

    `beside`: due only where records of the kind stand already. `told`: not to be written by us, the operator's to do.
    `ours` is for SPF: what is put in where a record stands.
    """

    record: Record
    kind: Kind
    reason: str
    merge: bool = False
    yields: bool = False
    beside: bool = False
    told: bool = False
    ours: Ours | None = None


def desired(facts: Facts) -> list[Wanted]:
    """What should stand in the domain's zone, in the order of `Kind`. Raises ValueError for a bad address."""
    due = DUE.get(facts.state, ALL) & facts.kinds
    makers = (
        (Kind.MX, _mx),
        (Kind.SPF, _spf),
        (Kind.DKIM, _dkim),
        (Kind.DMARC, _dmarc),
        (Kind.MTA_STS, _mta_sts),
        (Kind.TLS_RPT, _tls_rpt),
        (Kind.AUTOCONFIG, _clients),
        (Kind.AUTODISCOVER, _clients),
        (Kind.SRV, _srv),
        (Kind.PACC, _pacc),
        (Kind.CAA, _caa),
        (Kind.TLSA, _tlsa),
        (Kind.VERIFICATION, _verification),
        (Kind.ADDRESS, _addresses),
        (Kind.ACME, _acme),
        (Kind.REVERSE, _reverse),
    )
    found = [wanted for kind, make in makers if kind in due for wanted in make(facts, kind)]
    # A step back is seen as soon as the step was.
    short = min(facts.ttl, MOVING_TTL) if facts.moving and facts.state == State.CUTOVER else facts.ttl
    ttls = {Kind.MX: short}
    return [replace(one, record=replace(one.record, ttl=ttls.get(one.kind, facts.ttl))) for one in found]


def delegated(facts: Facts) -> list[Wanted]:
    """What has to stand in the provider's zone for the CNAMEs of `desired` to lead somewhere; [] without delegation."""
    if not facts.delegation:
        return []
    own = replace(facts, delegation="")
    names = {one.record.name for one in desired(facts) if one.record.type == "CNAME"}
    return [
        replace(one, record=replace(one.record, name=_into(facts, one.record.name)), yields=False)
        for one in desired(own)
        if one.record.name in names and one.record.type == "TXT"
    ]


def tlsa_data(certificate: bytes) -> str:
    """DANE-EE, public key, SHA-256: the one form that RFC 7672 section 3.1.1 asks for. `certificate` is PEM.

    Raises ValueError for what is no certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(certificate).public_key()
    return tlsa_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def with_foreign_mx(wanted: Iterable[Wanted], facts: Facts) -> list[Wanted]:
    """The same for a domain whose MX stays another's for now: in its SPF record "mx" would name that one."""
    spf = _spf(facts, Kind.SPF, mx_is_ours=False)
    return [replace(spf[0], record=replace(spf[0].record, ttl=facts.ttl)) if one.ours else one for one in wanted]


def without_policy(wanted: Iterable[Wanted]) -> list[Wanted]:
    """The same for a domain whose MX another holds as well: our MTA-STS policy names our host alone, and whoever obeys
    it would deliver nothing there.
    """
    reason = "the TLS policy names our host alone, and the MX is not only ours: it is not announced now"
    return [
        replace(one, told=True, reason=reason) if one.kind is Kind.MTA_STS and one.record.type == "TXT" else one
        for one in wanted
    ]


def ours_in_spf(facts: Facts, *, mx_is_ours: bool) -> Ours:
    """The SPF term that names our servers, and those that do as well."""
    by_ip = tuple(f"ip{ip_address(one).version}:{ip_address(one)}" for one in facts.addresses)
    by_name = f"a:{facts.host}"
    if facts.spf.startswith("include:"):
        return Ours(facts.spf, (), by_ip)
    if facts.spf == "ip" and by_ip:
        return Ours(" ".join(by_ip), (by_name, "mx") if mx_is_ours else (by_name,), by_ip)
    if facts.spf == "mx" and mx_is_ours:
        return Ours("mx", (by_name, f"mx:{facts.domain}"), by_ip)
    # As long as the MX is another's, "mx" names that one.
    return Ours(by_name, ("mx",) if mx_is_ours else (), by_ip)


def _mx(facts: Facts, kind: Kind) -> list[Wanted]:
    return [Wanted(Record(facts.domain, "MX", f"10 {facts.host}."), kind, "mail for the domain comes here")]


def _spf(facts: Facts, kind: Kind, *, mx_is_ours: bool | None = None) -> list[Wanted]:
    due = Kind.MX in DUE.get(facts.state, ALL)
    ours = ours_in_spf(facts, mx_is_ours=due if mx_is_ours is None else mx_is_ours)
    text = f"{VERSION} {ours.term} {ours.end}"
    return [
        Wanted(
            Record(facts.domain, "TXT", text_data(text)),
            kind,
            f"{ours.term} says that our servers send for the domain",
            merge=True,
            ours=ours,
        )
    ]


def _dkim(facts: Facts, kind: Kind) -> list[Wanted]:
    found = []
    for selector, text in facts.keys:
        name = f"{selector}._domainkey.{facts.domain}"
        if facts.delegation:
            found.append(_alias(facts, name, kind, "the key lies in our zone, so that it can be changed"))
        else:
            found.append(Wanted(Record(name, "TXT", text_data(text)), kind, "receivers check our signatures with it"))
    return found


def _dmarc(facts: Facts, kind: Kind) -> list[Wanted]:
    name = f"_dmarc.{facts.domain}"
    reports = facts.dmarc_reports or f"postmaster@{facts.domain}"
    text = f"v=DMARC1; p={facts.dmarc}; rua=mailto:{reports}"
    reason = {
        "none": "asks for reports, and asks nothing of receivers yet",
        "quarantine": "asks receivers to set aside what is not authentic",
        "reject": "asks receivers to refuse what is not authentic",
    }.get(facts.dmarc, "the policy for what is not authentic")
    if facts.delegation:
        return [replace(_alias(facts, name, kind, "the policy lies in our zone"), yields=True)]
    return [Wanted(Record(name, "TXT", text_data(text)), kind, reason, yields=True)]


def _mta_sts(facts: Facts, kind: Kind) -> list[Wanted]:
    if facts.mta_sts == "off" or not facts.mta_sts_id:
        return []
    name = f"_mta-sts.{facts.domain}"
    if facts.delegation:
        text = _alias(facts, name, kind, "the version of the TLS policy lies in our zone")
    else:
        data = text_data(f"v=STSv1; id={facts.mta_sts_id};")
        text = Wanted(Record(name, "TXT", data), kind, f"there is a TLS policy (mode {facts.mta_sts})", yields=True)
    host = Record(f"mta-sts.{facts.domain}", "CNAME", f"{facts.host}.")
    return [text, Wanted(host, kind, "the TLS policy is fetched there")]


def _tls_rpt(facts: Facts, kind: Kind) -> list[Wanted]:
    text = f"v=TLSRPTv1; rua=mailto:{facts.tls_reports or f'postmaster@{facts.domain}'}"
    record = Record(f"_smtp._tls.{facts.domain}", "TXT", text_data(text))
    return [Wanted(record, kind, "senders report trouble with TLS", yields=True)]


def _clients(facts: Facts, kind: Kind) -> list[Wanted]:
    record = Record(f"{kind}.{facts.domain}", "CNAME", f"{facts.host}.")
    who = "Thunderbird and others set themselves up" if kind is Kind.AUTOCONFIG else "Outlook sets itself up"
    return [Wanted(record, kind, f"{who} from it")]


def _srv(facts: Facts, kind: Kind) -> list[Wanted]:
    return [
        Wanted(
            Record(f"{one.name}.{facts.domain}", "SRV", _srv_data(facts, one)),
            kind,
            "mail programs find the service by it",
        )
        for one in facts.services
    ]


def _srv_data(facts: Facts, service: Service) -> str:
    if not service.port:
        return "0 0 0 ."
    return f"{service.priority} {service.weight} {service.port} {service.host or facts.host}."


def _pacc(facts: Facts, kind: Kind) -> list[Wanted]:
    if not facts.pacc:
        return []
    name = f"{PACC_LABEL}.{facts.domain}"
    return [
        Wanted(Record(name, "CNAME", f"{facts.host}."), kind, "programs set themselves up from it (draft)"),
        Wanted(Record(f"_{name}", "TXT", text_data(facts.pacc)), kind, "vouches for what they find there"),
    ]


def _caa(facts: Facts, kind: Kind) -> list[Wanted]:
    return [
        Wanted(
            Record(facts.domain, "CAA", f'0 issue "{issuer}"'),
            kind,
            f"{issuer} may issue the certificates of our services",
            merge=True,
            # Without any every authority may issue; the first would shut out that of the customer's web site.
            beside=True,
        )
        for issuer in facts.issuers
    ]


def _tlsa(facts: Facts, kind: Kind) -> list[Wanted]:
    if not _lies_in(facts.host, facts.domain):
        return []
    name = f"_25._tcp.{facts.host}"
    return [Wanted(Record(name, "TLSA", data), kind, reason) for data, reason in facts.tlsa]


def _verification(facts: Facts, kind: Kind) -> list[Wanted]:
    if not facts.token:
        return []
    record = Record(f"{VERIFICATION_NAME}.{facts.domain}", "TXT", text_data(f"{VERIFICATION_TAG}{facts.token}"))
    return [Wanted(record, kind, "proves that the domain is yours")]


def _addresses(facts: Facts, kind: Kind) -> list[Wanted]:
    _, _, parent = facts.host.partition(".")
    names = [name for name in (facts.host, *(f"{one}.{parent}" for one in SERVICES)) if _lies_in(name, facts.domain)]
    return [
        Wanted(
            Record(name, "A" if isinstance(address, IPv4Address) else "AAAA", str(address)),
            kind,
            "the address of the service",
        )
        for name in names
        for address in map(ip_address, facts.addresses)
    ]


def _acme(facts: Facts, kind: Kind) -> list[Wanted]:
    if not facts.delegation:
        return []
    return [_alias(facts, f"_acme-challenge.{facts.domain}", kind, "certificates are proved in our zone")]


def _reverse(facts: Facts, kind: Kind) -> list[Wanted]:
    """Only what is not as it should be, or not known."""
    found = []
    for address, names in facts.reverse:
        if names is not None and facts.host in names:
            continue
        now = "is not known now" if names is None else f"is {', '.join(names)}" if names else "is missing"
        record = Record(ip_address(address).reverse_pointer, "PTR", f"{facts.host}.")
        reason = f"the reverse name of {address} {now}: ask whoever gave you the address"
        found.append(Wanted(record, kind, reason, told=True))
    return found


def _alias(facts: Facts, name: str, kind: Kind, reason: str) -> Wanted:
    return Wanted(Record(name, "CNAME", f"{_into(facts, name)}."), kind, reason)


def _into(facts: Facts, name: str) -> str:
    """The name in the provider's zone: `_dmarc.a.test` becomes `_dmarc.a.test.ZONE`, so that nothing can clash."""
    return f"{name}.{facts.delegation}"


def _lies_in(name: str, zone: str) -> bool:
    return name == zone or name.endswith(f".{zone}")
