"""A Redis server that is away, late, full, restarted, or wants a password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.core.errors import ServiceMissingError
from postane.filters.store import redis as under_test
from postane.filters.store.place import parse
from postane.filters.store.redis import RedisStore
from postane.observe.metrics import Metrics
from support.redis import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


def made(url: str, password: Path | None = None, metrics: Metrics | None = None) -> RedisStore:
    place = parse(url)
    assert place is not None
    return RedisStore(place, password, metrics or Metrics())


def test_a_server_that_was_started_anew_is_found_again_by_the_next_question(server: RedisServer) -> None:
    async def work() -> None:
        store = made(server.url)
        assert await store.take("a", 1, 0.1, 1) == 0.0
        server.stop()
        server.start()
        assert await store.take("a", 1, 0.1, 1) == 0.0
        await store.close()

    server.start()
    asyncio.run(work())


def test_a_server_that_is_away(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PAUSE", 0.2)

    async def work() -> None:
        metrics = Metrics()
        store = made(server.url, metrics=metrics)
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(ServiceMissingError, match=rf"redis at 127\.0\.0\.1:{server.port}: "):
                await store.get("a")
            assert time.monotonic() - begun < 1
        assert b"postane_filter_store_up 0.0" in metrics.render()
        server.start()
        await asyncio.sleep(0.25)
        assert await store.get("a") is None
        assert b"postane_filter_store_up 1.0" in metrics.render()
        await store.close()

    asyncio.run(work())


def test_a_server_that_is_silent_is_waited_for_once(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_SECONDS", 1.0)
    monkeypatch.setattr(under_test, "_PAUSE", 1.5)

    async def work() -> None:
        store = made(server.url)
        await store.put("a", "1", 60)
        server.pause()
        with pytest.raises(ServiceMissingError, match="no answer within"):
            await store.get("a")
        begun = time.monotonic()
        with pytest.raises(ServiceMissingError, match="no answer within"):
            await store.get("a")
        assert time.monotonic() - begun < 0.8
        server.pause(go_on=True)
        await asyncio.sleep(1.6)
        # The late answer of the first question is nobody's.
        assert await store.get("b") is None
        assert await store.get("a") == "1"
        await store.close()

    server.start()
    asyncio.run(work())


def test_a_full_server_refuses_what_it_cannot_keep(server: RedisServer) -> None:
    server._options = ("--maxmemory", "1", "--maxmemory-policy", "noeviction")

    async def work() -> None:
        store = made(server.url)
        with pytest.raises(ServiceMissingError, match="maxmemory"):
            await store.put("a", "1", 60)
        with pytest.raises(ServiceMissingError, match="maxmemory"):
            await store.take("a", 1, 1, 1)
        assert await store.get("a") is None
        await store.close()

    server.start()
    asyncio.run(work())


def test_a_server_that_became_a_replica_is_left(server: RedisServer) -> None:
    async def work() -> None:
        store = made(server.url)
        await store.put("a", "1", 60)
        first = store._redis
        operator = await store._connect()
        await operator.replicaof("127.0.0.1", "1")
        for question in (store.put("a", "2", 60), store.take("b", 1, 1, 1)):
            store._again_at = 0.0
            with pytest.raises(ServiceMissingError, match="read only replica"):
                await question
        assert store._redis is not first  # who answers to that name now is asked
        await operator.replicaof("NO", "ONE")
        store._again_at = 0.0
        await store.put("a", "2", 60)
        await operator.aclose(close_connection_pool=True)
        await store.close()

    server.start()
    asyncio.run(work())


def test_by_its_socket_in_another_database_with_a_password(server: RedisServer, tmp_path: Path) -> None:
    server._options = ("--requirepass", "s3cret")
    password = tmp_path / "password"
    password.write_text("wrong\n")

    async def work() -> None:
        store = made(f"unix://{server.socket}?db=3", password)
        with pytest.raises(ServiceMissingError) as caught:
            await store.get("a")
        assert "s3cret" not in str(caught.value)
        assert "wrong" not in str(caught.value)
        password.write_text("s3cret\n")
        store._again_at = 0.0
        await store.put("a", "1", 60)
        password.write_text("requirepass s3cret\n")
        other = made(server.url, password)
        assert await other.get("a") is None
        nobody = made(server.url)
        with pytest.raises(ServiceMissingError, match=r"(?i)auth"):
            await nobody.get("a")
        missing = made(server.url, tmp_path / "missing")
        with pytest.raises(ServiceMissingError, match="No such file"):
            await missing.get("a")
        for one in (store, other, nobody, missing):
            await one.close()

    server.start()
    asyncio.run(work())


def test_every_key_expires(server: RedisServer) -> None:
    async def work() -> None:
        store = made(server.url)
        await store.put("a", "1", 60)
        await store.add("b", 1, 60)
        await store.take("c", 1, 0.1, 5)
        client = await store._connect()
        keys = await client.keys("*")
        assert sorted(keys) == ["postane:a", "postane:b", "postane:bucket:c"]
        assert all([0 < await client.pttl(key) <= 60_000 for key in keys])
        await client.aclose(close_connection_pool=True)
        await store.close()

    server.start()
    asyncio.run(work())
