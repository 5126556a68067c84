"""TLSA records against a certificate; openssl is the witness of what they should hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from postane.acceptance.transport import fits, names_in
from postane.admin.dev import _certificate
from postane.domains.desired import tlsa_data


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _certificate(tmp_path_factory.mktemp("tls") / "host.pem", "mail.a.test")


def digest(file: Path, selector: int, kind: str) -> str:
    octets = ["openssl", "x509", "-in", str(file), "-outform", "DER"]
    if selector:
        octets = ["sh", "-c", f"openssl x509 -in {file} -noout -pubkey | openssl pkey -pubin -outform DER"]
    der = subprocess.run(octets, capture_output=True, check=True).stdout
    if not kind:
        return der.hex()
    done = subprocess.run(["openssl", "dgst", f"-{kind}", "-r"], input=der, capture_output=True, check=True)
    return done.stdout.decode().split()[0]


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize(("kind", "number"), [("", 0), ("sha256", 1), ("sha512", 2)])
@pytest.mark.parametrize("usage", [1, 3])
def test_records_that_fit(file: Path, selector: int, kind: str, number: int, usage: int) -> None:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    data = digest(file, selector, kind)
    assert fits(f"{usage} {selector} {number} {data[:20]} {data[20:]}", certificate)
    assert not fits(f"{usage} {1 - selector} {number} {data}", certificate)
    assert not fits(f"{usage} {selector} {number} 00{data[2:]}", certificate) or data.startswith("00")


def test_what_we_publish_fits(file: Path) -> None:
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    data = tlsa_data(file.read_bytes())
    assert fits(data, certificate)
    # Of an authority, of another form, or none at all.
    for record in (data.replace("3 1 1", "2 1 1"), data.replace("3 1 1", "3 2 1"), data.replace("3 1 1", "3 1 9")):
        assert not fits(record, certificate)
    assert not fits("", certificate)
    assert not fits("3 1 1 zz", certificate)
    assert names_in(certificate) == ["mail.a.test", "localhost"]
