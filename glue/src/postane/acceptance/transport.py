"""What protects mail on its way: certificates at each door, DANE, MTA-STS.

Sources: RFC 7672 (DANE for SMTP), RFC 6698 (TLSA), RFC 8461 (MTA-STS).
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from postane.acceptance.net import Net
from postane.acceptance.policy import Policy, matches, read_policy
from postane.acceptance.result import Case, FailedError, SkippedError
from postane.acceptance.subject import Subject
from postane.acceptance.talk import Secured, Talk, any_certificate
from postane.clients.mta_sts import LABEL, PATH
from postane.core.errors import PostaneError

_MOST_LINES = 200
_SOON = 7.0  # days before its end at which a certificate should long have been renewed

# What is said in clear before TLS, and with what the answers that count begin.
_BEFORE = {
    "smtp": (("", "220"), ("EHLO acceptance.invalid", "250"), ("STARTTLS", "220")),
    "imap": (("", "* OK"), ("a1 STARTTLS", "a1 OK")),
    "pop3": (("", "+OK"), ("STLS", "+OK")),
    "sieve": (("", "OK"), ("STARTTLS", "OK")),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a door showed. `trouble` is why its certificate is not to be trusted for the name, "" if it is; `public`:
    an authority that all the world knows vouches for it.
    """

    version: str
    cipher: str
    certificate: x509.Certificate
    trouble: str
    public: bool


class Transport:
    """The checks of TLS, DANE and MTA-STS."""

    def __init__(self, subject: Subject, net: Net) -> None:
        self._subject = subject
        self._net = net

    async def certificate(self, case: Case, host: str, port: int, before: str = "") -> Shown:
        """Of one door, for the name by which clients come. `before` is a key of _BEFORE, "" for TLS at once."""
        if not host:
            raise SkippedError("not_offered")
        shown = await self._shown(host, port, before)
        case.note(f"{host} port {port}: {shown.version}, {shown.cipher}")
        days = self._note(case, shown)
        if shown.trouble:
            raise FailedError("untrusted", said=shown.trouble)
        if days < _SOON:
            raise FailedError("ends_soon", days=f"{days:.1f}")
        return shown

    async def mail_servers(self, case: Case) -> None:
        """The certificate of each MX."""
        for host in await self._mx():
            await self.certificate(case, host, self._subject.mail_port, "smtp")

    async def dane(self, case: Case) -> None:
        """The TLSA records of each MX fit what it shows, and are signed; else senders do not heed them."""
        unsigned = missing = 0
        hosts = await self._mx()
        for host in hosts:
            name = f"_25._tcp.{host}"
            told = await self._net.resolver.secured(name, "TLSA")
            if not told.records:
                case.note(f"{name}: no TLSA")
                missing += 1
                continue
            for record in told.records:
                case.note(f"{name} TLSA {record}{'' if told.authentic else ' (not signed)'}")
            shown = await self._shown(host, self._subject.mail_port, "smtp")
            if not any(fits(record, shown.certificate) for record in told.records):
                raise FailedError("tlsa_differs", name=host)
            unsigned += not told.authentic
        if missing == len(hosts):
            raise SkippedError("no_tlsa")
        if missing:
            raise FailedError("tlsa_missing", count=missing)
        if unsigned:
            raise SkippedError("unsigned")

    async def mta_sts(self, case: Case) -> None:
        """The policy is there over HTTPS, and the MX and its certificate are as it says."""
        subject = self._subject
        if subject.setup.mta_sts is None:
            raise SkippedError("no_mta_sts")
        texts = [one for one in await self._net.texts(f"_{LABEL}.{subject.domain}") if one.startswith("v=STSv1")]
        case.note(*[f"_{LABEL}.{subject.domain} TXT {one}" for one in texts])
        if not texts:
            raise FailedError("no_record", name=f"_{LABEL}.{subject.domain}")
        if len(texts) > 1:
            raise FailedError("two_records", name=f"_{LABEL}.{subject.domain}")
        page = await self._net.fetch(case, f"https://{LABEL}.{subject.domain}{PATH}")
        if page.status != 200:
            raise FailedError("no_page", status=page.status, url=page.url)
        policy = read_policy(page.octets)
        case.note(f"mode: {policy.mode}, mx: {', '.join(policy.mx)}, max_age: {policy.max_age}")
        if policy.mode == "none":
            raise SkippedError("mta_sts_off")
        await self._as_told(case, policy)

    async def _as_told(self, case: Case, policy: Policy) -> None:
        for host in await self._mx():
            if not any(matches(pattern, host) for pattern in policy.mx):
                raise FailedError("mx_not_in_policy", name=host)
            shown = await self._shown(host, self._subject.mail_port, "smtp")
            case.note(f"{host}: {shown.trouble or 'certificate as it should be'}")
            if shown.trouble:
                raise FailedError("untrusted", said=shown.trouble)

    async def _mx(self) -> list[str]:
        """The host itself where none is found, which the check of the MX tells."""
        if not self._subject.led_here:
            return [self._subject.host]
        try:
            found = await self._net.resolver.mail_hosts(self._subject.domain)
        except PostaneError:
            found = ()
        return [one.name for one in found] or [self._subject.host]

    async def _shown(self, host: str, port: int, before: str) -> Shown:
        """Up to three connections: with the system's authorities, with ours too, and with no judgement at all."""
        trouble, public = "", True
        contexts: tuple[Callable[[], ssl.SSLContext], ...] = (
            lambda: self._net.trust(system_only=True),
            self._net.trust,
            any_certificate,
        )
        for make in contexts:
            door = await self._net.connect(host, port)
            try:
                said = await asyncio.to_thread(_handshake, Talk(door, host, Case()), before, make())
            except ssl.SSLCertVerificationError as error:
                trouble, public = error.verify_message, False
                continue
            finally:
                door.close()
            certificate = x509.load_der_x509_certificate(said.certificate)
            return Shown(said.version, said.cipher, certificate, trouble if make is any_certificate else "", public)
        raise AssertionError("the last connection judges nothing")

    def _note(self, case: Case, shown: Shown) -> float:
        """Returns the days that the certificate has left."""
        one = shown.certificate
        days = (one.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).total_seconds() / 86_400
        known = "" if shown.public or shown.trouble else " (an authority of the provider's own)"
        case.note(
            f"for: {', '.join(names_in(one)) or one.subject.rfc4514_string()}",
            f"by: {one.issuer.rfc4514_string()}{known}",
            f"valid until: {one.not_valid_after_utc:%Y-%m-%d}, {days:.0f} days left",
        )
        return days


def fits(record: str, certificate: x509.Certificate) -> bool:
    """Whether a TLSA record of the server's own certificate (usages 1 and 3) fits it (RFC 6698 section 2.1).

    Usages 0 and 2 speak of an authority: False, as senders by SMTP are not to be told so (RFC 7672 section 3.1.3).
    """
    try:
        usage, selector, kind, *data = record.split()
        wanted = bytes.fromhex("".join(data))
    except ValueError:
        return False
    if selector == "0":
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    forms = {"0": octets, "1": hashlib.sha256(octets).digest(), "2": hashlib.sha512(octets).digest()}
    return usage in ("1", "3") and selector in ("0", "1") and forms.get(kind) == wanted


def names_in(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def _handshake(talk: Talk, before: str, context: ssl.SSLContext) -> Secured:
    """Raises ssl.SSLCertVerificationError, FailedError."""
    with talk:
        for said, wanted in _BEFORE.get(before, ()):
            if said:
                talk.say(said)
            _until(talk, before, wanted)
        return talk.start_tls(context)


def _until(talk: Talk, before: str, wanted: str) -> None:
    """The answer to what was said; lines that go before it are passed over."""
    for _ in range(_MOST_LINES):
        line = talk.line()
        goes_on = (
            line[3:4] == "-"
            if before == "smtp"
            else line.startswith("*") and wanted.startswith("a1")
            if before == "imap"
            else before == "sieve" and not line.startswith(("OK", "NO", "BYE"))
        )
        if not goes_on:
            if not line.startswith(wanted):
                raise FailedError("refused", command="STARTTLS", said=line)
            return
    raise FailedError("said", said="an answer without end")
