"""Quotas and passwords as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.admin import account, domain
from postane.admin.site import Site
from postane.config.model import Config
from postane.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0", 0), ("1", 1), ("500M", 500 << 20), ("2G", 2 << 30), ("2 GiB", 2 << 30), ("1kb", 1024), (" 1T ", 1 << 40)],
)
def test_quotas(text: str, octets: int) -> None:
    assert account.parse_quota(text) == octets


@pytest.mark.parametrize("text", ["", "lots", "-1G", "1.5G", "1P", "G", "1 000", "2048T", "9999999999999", "٣G"])
def test_no_quotas(text: str) -> None:
    with pytest.raises(UsageError):
        account.parse_quota(text)


@pytest.mark.parametrize("password", ["", "short", "nul\0in-it", "line\nend-in-it", "x" * 513, "lone-\ud800-half"])
def test_no_passwords(tmp_path: Path, password: str) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    domain.add(site, "demo.test")
    with pytest.raises(UsageError):
        account.add(site, "ayse@demo.test", password)
    assert account.every(site) == []


def test_a_new_account_is_told_from_a_changed_one(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    domain.add(site, "demo.test")
    first = account.add(site, "ayse@demo.test", "password-1")
    same = account.add(site, "Ayse@demo.test", "password-2")
    other = account.add(site, "ayse@demo.test", "password-2", quota=5)
    assert [(one.changed, one.made) for one in (first, same, other)] == [(True, True), (False, False), (True, False)]
    assert account.check_password(site, "ayse@demo.test", "password-1")
