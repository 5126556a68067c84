"""The answer to Apple's Mail: a configuration profile for one address, signed, without a password. Pure.

Its identifiers follow from host and address alone: installed again it replaces itself.
Sources: Apple, Device Management, payload com.apple.mail.managed; RFC 5652 (CMS).
"""

from __future__ import annotations

import plistlib
import uuid
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from postane.clients.model import Service, Setup
from postane.clients.words import LANGUAGES, Language, word
from postane.core.address import Address

PATH = "/mail/apple.mobileconfig"
TYPE = "application/x-apple-aspen-config"


def profile(setup: Setup, address: Address, language: Language = "en") -> bytes:
    """The profile as an XML property list, not yet signed. Raises ValueError where mail cannot be read or sent here."""
    reading, sending = setup.reading, setup.best("smtp")
    if reading is None or sending is None:
        raise ValueError("no service to read mail by, or none to send it by")
    values = {"address": address.key, "provider": setup.provider}
    here = ".".join(reversed(setup.host.split(".")))
    own = _uuid(setup, address, "profile")
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": f"{here}.mail.{own}",
            "PayloadUUID": own,
            "PayloadDisplayName": word(language, "profile.name", **values),
            "PayloadDescription": word(language, "profile.description", **values),
            "PayloadOrganization": setup.provider,
            "PayloadRemovalDisallowed": False,
            "ConsentText": {
                "default": word("en", "profile.consent", **values),
                **{one: word(one, "profile.consent", **values) for one in LANGUAGES},
            },
            "PayloadContent": [_mail(setup, address, here, reading, sending)],
        }
    )


def _mail(setup: Setup, address: Address, here: str, reading: Service, sending: Service) -> dict[str, object]:
    own = _uuid(setup, address, "mail")
    return {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{here}.mail.{own}",
        "PayloadUUID": own,
        "PayloadDisplayName": address.key,
        "EmailAccountDescription": address.key,
        "EmailAccountType": "EmailTypeIMAP" if reading.protocol == "imap" else "EmailTypePOP",
        "EmailAddress": address.key,
        **_server("Incoming", address, reading),
        **_server("Outgoing", address, sending),
        "OutgoingPasswordSameAsIncomingPassword": True,
    }


def _server(way: str, address: Address, service: Service) -> dict[str, object]:
    return {
        f"{way}MailServerHostName": service.host,
        f"{way}MailServerPortNumber": service.port,
        f"{way}MailServerUseSSL": True,
        f"{way}MailServerAuthentication": "EmailAuthPassword",
        f"{way}MailServerUsername": address.key,
    }


def _uuid(setup: Setup, address: Address, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://{setup.host}/mobileconfig/{what}/{address.key}")).upper()


@dataclass(frozen=True, slots=True)
class Signer:
    """The host's certificate with its chain, and its key."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Signer:
        """From PEM files. Raises ValueError for what is no certificate, or a key that CMS cannot sign with."""
        own, *chain = x509.load_pem_x509_certificates(certificate)
        private = load_pem_private_key(key, None)
        if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError("profiles are signed with RSA or ECDSA keys")
        return cls(own, tuple(chain), private)

    def sign(self, data: bytes) -> bytes:
        """The data inside a CMS signature with the chain, DER."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(self.certificate, self.key, SHA256())
        for one in self.chain:
            builder = builder.add_certificate(one)
        # As it is: no line ends changed, no list of ciphers that mean nothing here.
        return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities])
