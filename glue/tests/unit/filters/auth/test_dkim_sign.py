"""dkimpy, which knows nothing of our arithmetic, is the judge of every signature."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.bounce.report import Text
from postane.core.errors import TemporaryError
from postane.filters.auth.dkim_sign import DkimSigner, SigningKey, digest_message

HEAD = b"Received: by mail.demo.test; x\r\n"
MESSAGE = (
    b"From: =?utf-8?q?Ay=C5=9Fe?= <ayse@demo.test>\r\nTo:  mehmet@demo.test\r\nSubject: folded\r\n\tsubject  here \r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@demo.test>\r\n\r\n"
    b"Hello \t world  \r\n\r\n.dot\r\n \t \r\n\r\n\r\n"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SigningKey]]:
    folder = tmp_path_factory.mktemp("keys")
    private: dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey] = {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
    for name, key in private.items():
        (folder / f"{name}.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    yield [SigningKey(f"sel-{name}", name, folder / f"{name}.pem") for name in private]


def record(key: SigningKey) -> bytes:
    private = serialization.load_pem_private_key(key.path.read_bytes(), None)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    assert isinstance(private, rsa.RSAPrivateKey)
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def verified(message: bytes, keys: list[SigningKey]) -> list[bool]:
    """One answer for each signature, top first."""

    def dns(name: bytes, timeout: int = 5) -> bytes:
        for key in keys:
            if name.startswith(f"{key.selector}._domainkey.demo.test".encode()):
                return record(key)
        return b""

    count = len(re.findall(rb"(?im)^dkim-signature:", message))
    answers = []
    for index in range(count):
        try:
            answers.append(bool(dkim.DKIM(message).verify(idx=index, dnsfunc=dns)))
        except dkim.DKIMException:
            answers.append(False)
    return answers


def signer(keys: list[SigningKey]) -> DkimSigner:
    return DkimSigner(lambda domain: keys if domain == "demo.test" else [], lambda: 1_700_000_000.0)


def pieces(message: bytes, size: int) -> Text:
    return Text(tuple(message[at : at + size] for at in range(0, len(message), size)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100_000])
def test_both_signatures_verify_however_the_message_is_cut(keys: list[SigningKey], size: int) -> None:
    signatures = signer(keys).sign("demo.test", HEAD, pieces(MESSAGE, size))
    assert verified(signatures + HEAD + MESSAGE, keys) == [True, True]
    assert all(len(line) <= 78 for line in signatures.split(b"\r\n"))


@pytest.mark.parametrize(
    "message",
    [
        b"From: a@demo.test\r\n\r\n",
        b"From: a@demo.test\r\n\r\n\r\n\r\n",
        b"From: a@demo.test\r\n\r\nno end of line",
        b"From: a@demo.test\r\nX: " + b"y" * 5000 + b"\r\n\r\n" + b"  a  b \r\n" * 3000,
        "From: çiğdem@demo.test\r\nSubject: ölçü\r\n\r\nşöyle\r\n".encode(),
    ],
)
def test_odd_messages(keys: list[SigningKey], message: bytes) -> None:
    assert verified(signer(keys).sign("demo.test", b"", pieces(message, 50)) + message, keys) == [True, True]


@pytest.mark.parametrize("header", [b"From: evil@x.test\r\n", b"Subject: second\r\n", b"To: all@x.test\r\n"])
def test_a_second_header_breaks_the_signature(keys: list[SigningKey], header: bytes) -> None:
    signatures = signer(keys).sign("demo.test", HEAD, pieces(MESSAGE, 4096))
    assert verified(signatures + header + HEAD + MESSAGE, keys) == [False, False]


def test_a_changed_body_breaks_the_signature(keys: list[SigningKey]) -> None:
    signatures = signer(keys).sign("demo.test", HEAD, pieces(MESSAGE, 4096))
    assert verified(signatures + HEAD + MESSAGE.replace(b"Hello", b"Hallo"), keys) == [False, False]


@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"\t", b"a", b" a", b"a  b\t", b".", b"x" * 80]), max_size=30),
    cut=st.integers(1, 40),
)
@settings(deadline=None, max_examples=200)
def test_body_hash_is_dkimpys(lines: list[bytes], cut: int) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    wanted = hashlib.sha256(Relaxed.canonicalize_body(body)).digest()
    _, digest = digest_message(pieces(b"A: b\r\n\r\n" + body, cut).pieces)
    assert digest == wanted


def test_message_without_headers() -> None:
    headers, _ = digest_message([b"\r\n", b"body: is no header\r\n\r\n"])
    assert headers == []


def test_no_key_means_no_signature(keys: list[SigningKey]) -> None:
    assert signer(keys).sign("other.test", HEAD, pieces(MESSAGE, 99)) == b""


def test_a_key_that_cannot_be_read_delays(tmp_path: Path, keys: list[SigningKey]) -> None:
    (tmp_path / "broken.pem").write_text("no key")
    for path in (tmp_path / "missing.pem", tmp_path / "broken.pem"):
        with pytest.raises(TemporaryError, match=str(path)):
            signer([keys[0], SigningKey("x", "rsa", path)]).sign("demo.test", HEAD, pieces(MESSAGE, 99))


def test_a_replaced_key_is_read_again(tmp_path: Path, keys: list[SigningKey]) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(keys[0].path.read_bytes())
    mine = [SigningKey("s", "rsa", path)]
    sign = signer(mine)
    assert verified(sign.sign("demo.test", HEAD, pieces(MESSAGE, 99)) + HEAD + MESSAGE, mine) == [True]
    path.write_bytes(keys[1].path.read_bytes())
    assert verified(sign.sign("demo.test", HEAD, pieces(MESSAGE, 99)) + HEAD + MESSAGE, mine) == [True]
