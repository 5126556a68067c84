"""Signed mail for tests: keys, their DNS records, and a zone that answers questions from memory.

dkimpy signs, so that what our verifiers read was not written by our own code; `sign` makes by hand what dkimpy
refuses to make.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache

import dkim
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from postane.core.question import Answer, Question

Private = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

NOW = 1_800_000_000.0

MESSAGE = (
    b"From: Ayse <ayse@example.org>\r\nTo: mehmet@example.net\r\nSubject: folded\r\n\tsubject  here \r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n"
    b"Hello \t world  \r\n\r\nlast line\r\n \t \r\n\r\n\r\n"
)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def record(private: Private, extra: str = "") -> str:
    if isinstance(private, rsa.RSAPrivateKey):
        octets = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"v=DKIM1; k=rsa; {extra}p={base64.b64encode(octets).decode()}"
    octets = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; {extra}p={base64.b64encode(octets).decode()}"


SILENT = Answer(failed="DNS: no answer within 5 s")


class Zone:
    """Answers TXT questions: with texts, or with an Answer as it is; every other name does not exist."""

    def __init__(self, records: Mapping[str, Sequence[str] | Answer]) -> None:
        self.records = {name.lower(): answer for name, answer in records.items()}
        self.asked: list[str] = []

    async def ask(self, question: Question) -> Answer:
        name = question.name.lower()
        self.asked.append(question.name)
        answer = self.records.get(name)
        if answer is None:
            # A name with something below it exists, without records of its own.
            return Answer(exists=any(known.endswith("." + name) for known in self.records))
        return answer if isinstance(answer, Answer) else Answer(tuple(answer))


def zone(domain: str = "example.org", extra: str = "") -> Zone:
    return Zone(
        {
            f"rsa._domainkey.{domain}": [record(rsa_key(), extra)],
            f"ed._domainkey.{domain}": [record(ed25519_key(), extra)],
        }
    )


def pem(private: Private) -> bytes:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return base64.b64encode(
            private.private_bytes(
                serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
            )
        )
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def by_dkimpy(
    message: bytes,
    *,
    kind: str = "rsa",
    forms: str = "relaxed/relaxed",
    domain: str = "example.org",
    headers: Sequence[str] = ("from", "to", "subject", "date", "message-id"),
) -> bytes:
    """The message with a signature on top."""
    header, body = (form.encode() for form in forms.split("/"))
    signature: bytes = dkim.sign(
        message,
        b"rsa" if kind == "rsa" else b"ed",
        domain.encode(),
        pem(rsa_key() if kind == "rsa" else ed25519_key()),
        canonicalize=(header, body),
        include_headers=[name.encode() for name in headers],
        signature_algorithm=b"rsa-sha256" if kind == "rsa" else b"ed25519-sha256",
    )
    return signature + message


def sign(
    message: bytes,
    tags: str = "",
    *,
    private: Private | None = None,
    name: str = "DKIM-Signature",
    headers: str = "from:to:subject:date:message-id",
    limit: int | None = None,
    digest: str = "sha256",
    **changed: str | None,
) -> bytes:
    """The message with a signature of simple/simple made by hand; `changed` replaces tags, None leaves one out."""
    private = private or rsa_key()
    head, _, body = message.partition(b"\r\n\r\n")
    body = body.rstrip(b"\r\n") + b"\r\n"
    bh = base64.b64encode(hashlib.new(digest, body if limit is None else body[:limit]).digest()).decode()
    found: dict[str, str | None] = {
        "v": "1",
        "a": "rsa-sha256" if isinstance(private, rsa.RSAPrivateKey) else "ed25519-sha256",
        "d": "example.org",
        "s": "rsa" if isinstance(private, rsa.RSAPrivateKey) else "ed",
        "h": headers,
        "bh": bh,
        "l": None if limit is None else str(limit),
    }
    found.update(changed)
    text = "; ".join(f"{tag}={value}" for tag, value in found.items() if value is not None)
    field = f"{name}: {text}; {tags}b=".encode()
    left: dict[bytes, list[bytes]] = {}
    for line in head.replace(b"\r\n\t", b"\0").split(b"\r\n"):
        left.setdefault(line.partition(b":")[0].strip().lower(), []).append(line.replace(b"\0", b"\r\n\t") + b"\r\n")
    data = b"".join(left[one.encode()].pop() for one in (found["h"] or "").lower().split(":") if left.get(one.encode()))
    data += field
    if isinstance(private, rsa.RSAPrivateKey):
        value = private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    else:
        value = private.sign(hashlib.sha256(data).digest())
    return field + base64.b64encode(value) + b"\r\n" + message


RESULTS = "spf=pass smtp.mailfrom=a@b.example"


def sealed(message: bytes, domain: str, *, results: str = RESULTS, cv: str = "", now: float = NOW) -> bytes:
    """The message with one more ARC set of `domain`, made by dkimpy. `cv` is what the sealer says of the chain so far.

    Without it the truth is assumed: none for the first set, pass for each further one.
    """
    if not cv and b"ARC-Seal" in message:
        cv = "pass"
    claims = f"Authentication-Results: mx.{domain}; {results}{f'; arc={cv}' if cv else ''}\r\n".encode()
    fields: list[bytes] = dkim.arc_sign(
        claims + message,
        b"arc",
        domain.encode(),
        pem(rsa_key()),
        f"mx.{domain}".encode(),
        include_headers=[b"from", b"to", b"subject", b"date"],
        timestamp=int(now) - 60,
    )
    assert fields, "dkimpy made no set"
    return b"".join(fields) + message


def sealing_zone(*domains: str) -> Zone:
    return Zone({f"arc._domainkey.{domain}": [record(rsa_key())] for domain in domains})
