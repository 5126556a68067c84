"""A domain's keys: both halves fit, files are ours alone, a second call makes nothing."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from postane.admin import domain
from postane.admin.site import Site
from postane.config.model import Config


def test_keys_are_made_once_and_fit_their_records(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    domain.add(site, "demo.test")
    keys = domain.keys(site, "demo.test")
    rsa, ed25519 = keys
    assert rsa.path == tmp_path / "keys" / "dkim" / "demo.test" / "p-rsa-1.pem"
    assert rsa.path.parent.stat().st_mode & 0o777 == 0o700
    for key in keys:
        private = serialization.load_pem_private_key(key.path.read_bytes(), None)
        tags = dict(tag.strip().split("=", 1) for tag in key.record.split(";"))
        published = base64.b64decode(tags["p"])
        form = (
            (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            if key.algorithm == "rsa"
            else (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )
        assert private.public_key().public_bytes(*form) == published
        assert (tags["v"], tags["k"]) == ("DKIM1", key.algorithm)
    assert len(base64.b64decode(ed25519.record.rpartition("p=")[2])) == 32
    assert not domain.add(site, "demo.test").changed
    assert domain.keys(site, "demo.test") == keys
