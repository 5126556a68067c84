from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.core.errors import CorruptSpoolError, SpoolFullError
from postane.quarantine.store import Store
from support.quarantine import make_fresh, make_item

ONE, TWO = f"{1:026}", f"{2:026}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "quarantine")
    yield made
    made.close()


def keep(store: Store, spool_id: str, text: bytes) -> None:
    store.check_room()
    assert store.write_texts([(spool_id, [text[:3], memoryview(text)[3:]])]) == [None]


def test_a_text_is_written_once_and_read_where_it_lies(store: Store) -> None:
    keep(store, ONE, b"hello world")
    path = store.path(ONE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    keep(store, ONE, b"hello world")
    assert path.stat().st_ino == before
    assert bytes(store.text(make_item(1, size=11))) == b"hello world"
    assert os.listdir(path.parent) == [ONE]  # noqa: PTH208


def test_half_a_text_is_written_anew(store: Store) -> None:
    keep(store, ONE, b"hello")
    keep(store, ONE, b"hello world")
    assert bytes(store.text(make_item(1, size=11))) == b"hello world"


def test_what_breaks_concerns_one_text_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def fails(fd: int) -> None:
        if os.fstat(fd).st_size == 3:
            raise OSError(5, "Input/output error")
        sync(fd)

    keep(store, f"{9:026}", b"makes the folders")
    monkeypatch.setattr(os, "fsync", fails)
    errors = store.write_texts([(ONE, [b"hello"]), (TWO, [b"abc"]), (f"{3:026}", [b"hello"])])
    assert [str(error) for error in errors] == ["None", "[Errno 5] Input/output error", "None"]
    assert sorted(path.name for path in store.path(ONE).parent.iterdir()) == [ONE, f"{3:026}", f"{9:026}"]


def test_a_text_that_is_gone_or_cut_says_so(store: Store) -> None:
    with pytest.raises(CorruptSpoolError, match="gone"):
        store.text(make_item(1))
    keep(store, ONE, b"hello")
    with pytest.raises(CorruptSpoolError, match="5 of 2048"):
        store.text(make_item(1))


def test_a_text_stays_as_long_as_one_mailbox_has_it(store: Store) -> None:
    keep(store, ONE, b"hello")
    store.index.add([make_fresh(1), make_fresh(1, "ali@demo.test")], most_octets=1 << 40, most_items=9)
    store.drop_texts(store.index.sweep("ayse@demo.test", 9e9))
    assert store.path(ONE).exists()
    store.drop_texts(store.index.sweep("ali@demo.test", 9e9))
    assert not store.path(ONE).parent.exists()
    keep(store, TWO, b"hello")  # its folder is made anew
    assert store.path(TWO).exists()


def test_texts_without_a_row_go_when_they_are_old(store: Store) -> None:
    for spool_id in (ONE, TWO, f"{3:026}"):
        keep(store, spool_id, b"hello")
    store.path(ONE).with_name(f".{ONE}").write_bytes(b"half")  # of a crash
    store.index.add([make_fresh(1)], most_octets=1 << 40, most_items=9)
    old = time.time() - 2 * 86_400
    os.utime(store.path(ONE), (old, old))
    os.utime(store.path(TWO), (old, old))
    assert store.sweep_texts() == 1
    assert store.path(ONE).exists()
    assert not store.path(TWO).exists()
    assert store.path(f"{3:026}").exists()


def test_some_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    with pytest.raises(SpoolFullError):
        Store(tmp_path / "q", reserve=1 << 62).check_room()
    Store(tmp_path / "q", reserve=1).check_room()


def test_work_is_done_in_one_thread(store: Store) -> None:
    async def main() -> list[int]:
        import threading

        return await asyncio.gather(*(store.run(threading.get_ident) for _ in range(10)))

    assert len(set(asyncio.run(main()))) == 1
