"""DKIM signatures (RFC 6376, Ed25519 by RFC 8463) on mail that leaves, one for each active key of the From domain.

Relaxed canonicalisation of headers and body, no `l=`. Headers that make a message what it is are signed once more
than they occur ("oversigned"), so that nobody can add a second From or Subject to a signed message.
The body is hashed in pieces; it is never joined or copied. Keys are read once and kept.

dkimpy's arithmetic is slow, so the hashing and signing is `cryptography`'s; dkimpy is the witness in the tests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from postane.core.errors import TemporaryError
from postane.core.ports import Body, Now
from postane.filters.auth.canonical import BodyHash, Piece, relaxed_field, slices

# Signed once more than they occur, even if they do not occur at all.
_OVERSIGNED = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"mime-version", b"content-type")
# Signed where they occur.
_SIGNED = (
    *(b"sender", b"in-reply-to", b"references", b"content-transfer-encoding", b"auto-submitted"),
    *(b"list-id", b"list-unsubscribe", b"list-unsubscribe-post", b"list-post", b"list-help"),
    *(b"resent-from", b"resent-to"),
)

_LINE = 72


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`algorithm` is "rsa" or "ed25519"; `path` a PEM file with the private key (PKCS#8)."""

    selector: str
    algorithm: str
    path: Path


Keys = Callable[[str], Sequence[SigningKey]]
"""The active keys of a domain, by its A-label name; none: mail of that domain goes unsigned."""


class DkimSigner:
    """Signs for all domains that `keys` knows."""

    def __init__(self, keys: Keys, now: Now) -> None:
        self._keys = keys
        self._now = now
        self._loaded: dict[tuple[Path, int], rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey] = {}

    def sign(self, domain: str, head: bytes, body: Body) -> bytes:
        """DKIM-Signature headers with CRLF, to be put on top of `head` + `body`; empty where there is no key.

        `head` are header lines of ours that stand above the message in `body`.
        Raises TemporaryError where a key cannot be read: such mail waits, it never goes out unsigned.
        """
        keys = self._keys(domain)
        if not keys:
            return b""
        loaded = [(key, self._load(key)) for key in keys]
        headers, digest = digest_message([head, *body.chunks()])
        stamp = int(self._now())
        return b"".join(_signature(domain, key, private, headers, digest, stamp) for key, private in loaded)

    def _load(self, key: SigningKey) -> rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey:
        try:
            # A key that was replaced in its file is read again.
            changed = key.path.stat().st_mtime_ns
            private = self._loaded.get((key.path, changed))
            if private is None:
                loaded = serialization.load_pem_private_key(key.path.read_bytes(), None)
                if not isinstance(loaded, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
                    raise TypeError("neither RSA nor Ed25519")
                private = loaded
                self._loaded = {known: kept for known, kept in self._loaded.items() if known[0] != key.path}
                self._loaded[key.path, changed] = private
        except (OSError, ValueError, TypeError) as error:
            raise TemporaryError(f"DKIM key {key.path} cannot be read: {error}") from error
        return private


def digest_message(pieces: Iterable[Piece]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers as (lower-case name, relaxed line without CRLF), and the SHA-256 of the relaxed body."""
    head = bytearray()
    body: BodyHash | None = None
    for piece in slices(pieces):  # a large text is one view: never joined
        if body is not None:
            body.feed([piece])
            continue
        searched = max(0, len(head) - 3)
        head += piece
        # A message may begin with the empty line: it has no headers at all.
        end = -2 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n", searched)
        if end != -1:
            body = BodyHash(relaxed=True)
            body.feed([head[end + 4 if end >= 0 else 2 :]])
            del head[max(end, 0) :]
    body = body or BodyHash(relaxed=True)
    body.finish()
    return _headers(bytes(head)), body.digests[None]


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """Section 3.4.2: names in lower case, values unfolded, white space to one space."""
    headers = []
    for line in re.split(rb"\r\n(?![ \t])", head):
        name, colon, value = line.partition(b":")
        if colon:
            name = name.rstrip(b" \t").lower()
            headers.append((name, relaxed_field(name, value)))
    return headers


def _signature(
    domain: str,
    key: SigningKey,
    private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    stamp: int,
) -> bytes:
    names, lines = _choose(headers)
    algorithm = "rsa-sha256" if isinstance(private, rsa.RSAPrivateKey) else "ed25519-sha256"
    tags = [
        f"v=1; a={algorithm}; c=relaxed/relaxed; t={stamp};",
        f"d={domain}; s={key.selector};",
        *_folded("h=", b":".join(names).decode(), ":", ";"),
        f"bh={base64.b64encode(body).decode()};",
        "b=",
    ]
    field = ("DKIM-Signature: " + "\r\n\t".join(tags)).encode()
    # Section 3.7: the signature's own header goes last, with an empty b= and no CRLF.
    (_, own), *_ = _headers(field)
    signed = b"\r\n".join([*lines, own])
    if isinstance(private, rsa.RSAPrivateKey):
        value = private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        # RFC 8463 section 3: PureEdDSA over the SHA-256 of the data.
        value = private.sign(hashlib.sha256(signed).digest())
    text = base64.b64encode(value).decode()
    folded = "\r\n\t ".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    return field + folded.encode() + b"\r\n"


def _choose(headers: list[tuple[bytes, bytes]]) -> tuple[list[bytes], list[bytes]]:
    """The names for h= and the lines that they mean: of several headers of a name the lowest comes first (5.4.2)."""
    by_name: dict[bytes, list[bytes]] = {}
    for name, line in headers:
        by_name.setdefault(name, []).append(line)
    names: list[bytes] = []
    lines: list[bytes] = []
    for name in (*_OVERSIGNED, *_SIGNED):
        found = by_name.get(name, [])
        names += [name] * len(found)
        lines += reversed(found)
        if name in _OVERSIGNED:
            names.append(name)
    return names, lines


def _folded(lead: str, text: str, separator: str, end: str) -> list[str]:
    """A long tag on several lines, broken after a separator."""
    out: list[str] = []
    line = lead
    for word in text.split(separator):
        if len(line) + len(word) > _LINE:
            out.append(line)
            line = ""
        line += word + separator
    out.append(line.removesuffix(separator) + end)
    return out
