"""What is sent to an authority, and what is not taken from it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postane.core.errors import PermanentError
from postane.tls.request import check_answer, make_request
from support.pebble import make_server_certificate


def test_a_fresh_key_on_p256_and_a_request_with_names_only() -> None:
    key, csr = make_request(["mail.a.test", "*.b.test"])
    made = load_pem_private_key(key, None)
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    assert isinstance(made.curve, ec.SECP256R1)
    request = x509.load_pem_x509_csr(csr)
    assert request.is_signature_valid
    assert list(request.subject) == []
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.a.test", "*.b.test"]
    assert make_request(["mail.a.test"])[0] != key


@pytest.mark.parametrize(
    ("names", "begins", "words"),
    [
        (("mail.a.test",), -1.0, ""),
        (("*.a.test",), -1.0, ""),
        (("mail.b.test",), -1.0, "lacks mail.a.test"),
        (("mail.a.test",), 1.0, "not valid by this host's clock"),
        (("mail.a.test",), -10.0, "not valid by this host's clock"),
        (("mail.a.test",), 0.01, ""),
    ],
)
def test_an_answer_that_no_client_would_take_is_refused(
    tmp_path: Path, names: tuple[str, ...], begins: float, words: str
) -> None:
    make_server_certificate(tmp_path, *names, begins=begins)
    chain, key = (tmp_path / "server.pem").read_bytes(), (tmp_path / "server.key").read_bytes()
    if not words:
        check_answer(chain, key, ["mail.a.test"], time.time())
        return
    with pytest.raises(PermanentError, match=words):
        check_answer(chain, key, ["mail.a.test"], time.time())


def test_an_answer_of_another_key_or_none_at_all_is_refused(tmp_path: Path) -> None:
    make_server_certificate(tmp_path, "mail.a.test")
    chain = (tmp_path / "server.pem").read_bytes()
    key, _ = make_request(["mail.a.test"])
    with pytest.raises(PermanentError, match="another key"):
        check_answer(chain, key, ["mail.a.test"], time.time())
    with pytest.raises(PermanentError, match="cannot be read"):
        check_answer(b"<html>", key, ["mail.a.test"], time.time())
