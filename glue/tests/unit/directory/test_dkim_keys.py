"""A domain's keys: both halves fit, files are ours alone, a second call makes nothing."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_that_root_makes_belong_to_the_daemon(tmp_path: Path) -> None:
    os.chown(tmp_path, 64123, 64124)
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    domain.add(site, "demo.test")
    made = [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]
    assert len(made) == 5
    for path in made:
        assert (path.stat().st_uid, path.stat().st_gid) == (64123, 64124), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_half_made_domain_leaves_no_rows_and_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            domain.add(site, "demo.test")
    assert domain.every(site) == []
    assert domain.add(site, "demo.test").changed
    assert [key.selector for key in domain.keys(site, "demo.test")] == ["p-rsa-1", "p-ed25519-1"]
