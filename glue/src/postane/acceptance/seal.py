"""The signature of an acceptance document: Ed25519 (RFC 8032) over its canonical form (RFC 8785).

Documents hold texts, whole numbers, lists and objects with ASCII names: for these, what is written here is that form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY = "acceptance"  # the name of the host's key, see storage.secret
SIGNATURE = "signature"
_ALGORITHM = "Ed25519"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verified:
    """`fingerprint` is of the key that the document names, `trouble` why its signature is not good, "" if it is."""

    fingerprint: str
    trouble: str


def canonical(document: Mapping[str, Any]) -> bytes:
    """What is signed: the document without its signature. Raises ValueError for a number with a fraction."""
    plain = {key: value for key, value in document.items() if key != SIGNATURE}
    _whole_numbers(plain)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sign(document: Mapping[str, Any], secret: bytes) -> Document:
    """`secret` are the 32 octets of the key."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    value = key.sign(canonical(document))
    return {
        **document,
        SIGNATURE: {
            "algorithm": _ALGORITHM,
            "form": "RFC 8785",
            "key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
            "value": base64.b64encode(value).decode(),
        },
    }


def verify(document: Mapping[str, Any]) -> Verified:
    """Whether the document is as it was signed, by whichever key it names; whose key that is is another matter."""
    try:
        found = document[SIGNATURE]
        octets = base64.b64decode(found["key"], validate=True)
        key = Ed25519PublicKey.from_public_bytes(octets)
        value = base64.b64decode(found["value"], validate=True)
        known = found["algorithm"] == _ALGORITHM
        text = canonical(document)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        return Verified("", f"there is no signature that can be read: {error}")
    if not known:
        return Verified("", f"the signature is not {_ALGORITHM}")
    try:
        key.verify(value, text)
    except InvalidSignature:
        return Verified(fingerprint(octets), "the document is not as it was signed")
    return Verified(fingerprint(octets), "")


def fingerprint_of(secret: bytes) -> str:
    """Of the public part of a host's key."""
    return fingerprint(Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def fingerprint(public: bytes) -> str:
    """SHA-256 of the public key, in groups that can be read aloud."""
    digest = hashlib.sha256(public).hexdigest()
    return ":".join(digest[at : at + 4] for at in range(0, 32, 4))


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of what is signed, for a page that has no room for all of it."""
    return hashlib.sha256(canonical(document)).hexdigest()


def _whole_numbers(value: object) -> None:
    """A fraction has more than one way to be written."""
    if isinstance(value, float):
        raise ValueError("a document holds no fractions")
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise ValueError(f"{key!r} is no name for a document")
            _whole_numbers(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _whole_numbers(one)
