import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postane.core.errors import PermanentError
from postane.storage.secret import secret


def test_it_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = secret(tmp_path, "links")
    assert len(key) == 32
    assert secret(tmp_path, "links") == key
    assert secret(tmp_path, "origin") != key
    assert stat.S_IMODE((tmp_path / "keys/links.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["links.key", "origin.key"]


def test_all_who_ask_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: secret(tmp_path, "links"), range(64)))) == 1


def test_a_damaged_one_is_told_and_not_replaced(tmp_path: Path) -> None:
    secret(tmp_path, "links")
    (tmp_path / "keys/links.key").write_bytes(b"short")
    with pytest.raises(PermanentError, match=r"links\.key holds 5 octets"):
        secret(tmp_path, "links")
    assert (tmp_path / "keys/links.key").read_bytes() == b"short"
