"""A fresh key and the request for a certificate of it; and whether what comes back is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from postane.core.errors import PermanentError
from postane.tls.names import covers

CLOCK = 3600.0  # seconds by which a certificate may begin in the future


def make_request(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A key (ECDSA P-256, PKCS 8) and a signing request for these names, both PEM. No name is put into the subject:
    a common name has at most 64 letters, and nobody reads it (RFC 6125 section 6.4.4).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, request.public_bytes(Encoding.PEM)


def check_answer(chain: bytes, key: bytes, names: Sequence[str], now: float) -> None:
    """Raises PermanentError for one that no client would take: of another key, without a name, not valid now."""
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        mine = load_pem_private_key(key, None).public_key()
        sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise PermanentError(f"what the authority issued cannot be read: {error}") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != mine.public_bytes(*form):
        raise PermanentError("what the authority issued is of another key")
    bears = [name.lower() for name in sans.get_values_for_type(x509.DNSName)]
    if missing := [name for name in names if name not in bears and not covers(name, bears)]:
        raise PermanentError(f"what the authority issued lacks {', '.join(missing)}")
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not begins - CLOCK <= now < ends:
        raise PermanentError(
            "what the authority issued is not valid by this host's clock", hint="is the clock right? timedatectl"
        )
