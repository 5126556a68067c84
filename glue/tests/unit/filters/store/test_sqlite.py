"""The file: several workers, expiry, its bound, damage, and a directory that root and the daemon share."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from postane.core.errors import TemporaryError
from postane.filters.store import sqlite
from postane.filters.store.sqlite import FILE, SqliteStore
from postane.observe.metrics import Metrics


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def made(folder: Path, clock: Clock | None = None, rows: int = 1000) -> SqliteStore:
    return SqliteStore(folder, clock or Clock(), Metrics(), {"buckets": rows, "facts": rows})


def count(folder: Path, table: str) -> int:
    db = sqlite3.connect(folder / FILE)
    try:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        db.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_it_survives_the_process(tmp_path: Path) -> None:
    async def work() -> None:
        store = made(tmp_path)
        await store.put("a", "1", 60)
        await store.take("b", 5, 1, 5)
        await store.close()
        again = made(tmp_path)
        assert await again.get("a") == "1"
        assert await again.take("b", 1, 1, 5) == pytest.approx(1)
        await again.close()

    run(work())
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_what_has_expired_is_swept(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock()
        store = made(tmp_path, clock)
        await asyncio.gather(*(store.put(f"short {n}", "", 5) for n in range(300)))
        await asyncio.gather(*(store.take(f"short {n}", 1, 1, 5) for n in range(300)))
        await store.put("long", "", 500)
        clock.now += 50
        store._sweep_at = 0.0
        await store.put("x", "", 500)
        assert (count(tmp_path, "facts"), count(tmp_path, "buckets")) == (2, 0)
        await store.close()

    run(work())


def test_of_what_is_too_much_the_soonest_to_expire_goes(tmp_path: Path) -> None:
    async def work() -> None:
        store = made(tmp_path, rows=100)
        await asyncio.gather(*(store.put(f"k{n}", "", 10 + n) for n in range(300)))
        store._sweep_at = 0.0
        await store.put("last", "", 1000)
        assert count(tmp_path, "facts") == 100
        assert await store.get("k200") is None
        assert await store.get("k201") == ""
        await store.close()

    run(work())


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_put_aside(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)

    async def work() -> None:
        store, other = made(tmp_path), made(tmp_path)
        await store.put("a", "1", 60)
        assert await other.get("a") == "1"
        await store.close()
        await other.close()

    run(work())
    assert (tmp_path / FILE).with_suffix(".damaged").read_bytes() == damage


def test_a_file_that_is_damaged_under_open_workers(tmp_path: Path) -> None:
    async def work() -> None:
        stores = [made(tmp_path) for _ in range(3)]
        for number in range(200):
            await stores[0].put(f"key {number}", "x" * 200, 60)
        for store in stores:
            await store.get("key 1")
            await store.close()
        with (tmp_path / FILE).open("r+b") as file:  # all of it but the header
            size = file.seek(0, 2)
            file.seek(4096)
            file.write(b"\xaa" * (size - 4096))
        for store in stores:
            await store.put("a", "1", 60)
        assert await stores[0].get("a") == "1"
        assert await stores[2].get("a") == "1"
        for store in stores:
            await store.close()

    run(work())


def test_one_worker_puts_a_file_aside_and_the_others_take_the_new_one(tmp_path: Path) -> None:
    async def work() -> None:
        one, other = made(tmp_path), made(tmp_path)
        await one.put("old", "1", 60)
        assert await other.get("old") == "1"  # it holds the old file and its log open
        await one._at_work(one._put_aside, "for this test")
        await one.put("new", "2", 60)
        assert await one.get("old") is None  # what stood in the old log has not come into the new file
        await other._at_work(other._put_aside, "a moment later")
        assert await other.get("new") == "2"
        await one.close()
        await other.close()

    run(work())


def test_a_file_that_may_not_grow_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PAGES", 60)

    async def work() -> None:
        store = made(tmp_path)
        store._sweep_at = float("inf")
        for number in range(150):
            await store.put(f"k{number}", "x" * 2000, 60 + number)
        with pytest.raises(TemporaryError, match="full"):
            await store.put("too much", "x" * 400_000, 60)
        assert await store.get("k149") == "x" * 2000
        await store.close()

    run(work())


def test_a_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    async def work() -> None:
        store, other = made(tmp_path), made(tmp_path)
        await store.put("a", "1", 60)
        await other.get("a")
        for path in tmp_path.glob(f"{FILE}*"):
            path.unlink()
        await store.put("b", "2", 60)
        assert await other.get("b") == "2"
        assert await other.get("a") is None
        await store.close()
        await other.close()

    run(work())


def test_tables_of_another_version_are_thrown_away(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE)
    db.executescript("CREATE TABLE facts (other TEXT); PRAGMA user_version = 77")
    db.close()

    async def work() -> None:
        store = made(tmp_path)
        await store.put("a", "1", 60)
        assert await store.get("a") == "1"
        await store.close()

    run(work())


def test_a_file_that_cannot_be_used_is_a_temporary_error(tmp_path: Path) -> None:
    async def work() -> None:
        store = made(tmp_path / "missing")
        with pytest.raises(TemporaryError, match=r"filters\.sqlite3 does not answer"):
            await store.put("a", "1", 60)
        (tmp_path / "missing").mkdir()
        await store.put("a", "1", 60)
        await store.close()

    run(work())


def test_a_transaction_of_another_worker_is_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        store = made(tmp_path)
        await store.put("a", "1", 60)
        db = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        task = asyncio.ensure_future(store.put("a", "2", 60))
        await asyncio.sleep(0.1)
        assert not task.done()
        assert await asyncio.wait_for(asyncio.sleep(0, "free"), 0.05) == "free"  # the loop does not wait
        db.execute("COMMIT")
        db.close()
        await task
        await store.close()

    run(work())


_WORKER = """
import asyncio, sys, time
from pathlib import Path
from postane.filters.store.sqlite import SqliteStore
from postane.observe.metrics import Metrics

async def work():
    store = SqliteStore(Path(sys.argv[1]), time.time, Metrics())
    waits = await asyncio.gather(*(store.take("shared", 1, 0.00001, 500) for _ in range(200)))
    for _ in range(100):
        last = await store.add("count", 1, 600)
    await store.close()
    print(sum(wait == 0.0 for wait in waits), last)

asyncio.run(work())
"""


def test_several_processes_begin_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert sum(int(granted) for granted, _ in found) == 500
    assert max(int(last) for _, last in found) == 400


def test_a_worker_that_is_killed_leaves_the_file_whole(tmp_path: Path) -> None:
    for _ in range(4):
        command = [sys.executable, "-c", _WORKER.replace("range(100)", "range(10**9)"), str(tmp_path)]
        worker = subprocess.Popen(command)
        end = time.monotonic() + 20
        while not (tmp_path / FILE).exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.2))
        worker.kill()
        worker.wait()
        db = sqlite3.connect(tmp_path / FILE)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()

    async def work() -> None:
        store = made(tmp_path)
        await store.put("a", "1", 60)
        await store.close()

    run(work())
    assert not list(tmp_path.glob("*.damaged"))
