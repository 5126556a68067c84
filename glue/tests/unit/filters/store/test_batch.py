"""What both kinds of store promise (core.ports.Store), each asked for real."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from postane.core.errors import TemporaryError
from postane.core.ports import Charge, Store
from postane.filters.store import batch
from postane.filters.store.batch import BatchedStore, Operation
from postane.filters.store.place import parse
from postane.filters.store.sqlite import SqliteStore
from postane.observe.metrics import Metrics
from support.redis import RedisServer

Make = Callable[[], Store]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes stores that share what they hold, as workers and hosts do."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path, time.time, Metrics())
    from postane.filters.store.redis import RedisStore

    place = parse(request.getfixturevalue("server").url)
    assert place is not None
    return lambda: RedisStore(place, None, Metrics())


def run(make: Make, work: Callable[[Store, Store], Coroutine[Any, Any, None]]) -> None:
    """`work` over two stores that share."""

    async def both() -> None:
        one, other = make(), make()
        try:
            await work(one, other)
        finally:
            await one.close()
            await other.close()

    asyncio.run(both())


def test_a_bucket_is_one_for_all(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        waits = [await store.take("bucket", 1, 0.1, 4) for store in (one, other, one, other)]
        assert waits == [0.0] * 4
        assert 9 < await one.take("bucket", 1, 0.1, 4) <= 10
        assert 9 < await other.take("bucket", 1, 0.1, 4) <= 10  # what was not granted was not taken
        assert await other.take("another", 4, 0.1, 4) == 0.0
        assert await one.take("another", 5, 0.1, 4) == math.inf

    run(make, work)


def test_a_bucket_fills_again(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        assert await one.take("filling", 2, 1, 2) == 0.0
        wait = await other.take("filling", 1, 1, 2)
        assert 0 < wait <= 1
        await asyncio.sleep(wait + 0.01)
        assert await other.take("filling", 1, 1, 2) == 0.0

    run(make, work)


def test_all_or_nothing(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        narrow, wide = Charge("narrow", 1, 0.01, 1), Charge("wide", 1, 0.01, 3)
        assert await one.take_all([wide, narrow]) == [0.0, 0.0]
        for _ in range(5):
            waits = await other.take_all([wide, narrow])
            assert waits[0] == 0.0
            assert waits[1] > 90
        assert await one.take("wide", 2, 0.01, 3) == 0.0  # it had lost one, not six
        assert await one.take_all([Charge("wide", 0, 0.01, 3, need=1)]) == [pytest.approx(100, abs=1)]
        assert await one.take_all([]) == []
        with pytest.raises(ValueError, match="no bucket"):
            await one.take("x", 1, 0, 1)

    run(make, work)


def test_many_at_once_take_no_more_than_there_is(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        takes = [store.take("crowd", 1, 0.001, 37) for store in (one, other) for _ in range(300)]
        waits = await asyncio.gather(*takes)
        assert sum(wait == 0.0 for wait in waits) == 37

    run(make, work)


def test_facts_last_their_time(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        assert await one.get("fact") is None
        await one.put("fact", "café", 0.15)
        await one.put("lasting", "1", 60)
        await one.put("lasting", "", 60)
        assert await other.get("fact") == "café"
        await asyncio.sleep(0.2)
        assert await one.get("fact") is None
        assert await other.get("lasting") == ""

    run(make, work)


def test_a_counter_begins_anew_when_its_time_is_over(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        values = [await store.add("count", by, 0.3) for store, by in ((one, 1), (other, 5), (one, -2))]
        assert values == [1, 6, 4]
        assert await other.get("count") == "4"
        await asyncio.sleep(0.2)
        assert await one.add("count", 1, 0.3) == 5  # adding does not lengthen its time
        await asyncio.sleep(0.15)
        assert await one.get("count") is None
        assert await other.add("count", 3, 60) == 3

    run(make, work)


def test_a_closed_store_opens_again(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        await one.put("closed", "x", 60)
        await one.close()
        await one.close()
        assert await one.get("closed") == "x"

    run(make, work)


def test_closing_takes_no_answer_from_anybody(make: Make) -> None:
    async def work(one: Store, other: Store) -> None:
        async def count(times: int) -> None:
            for _ in range(times):
                await one.add("busy", 1, 60)

        tasks = [asyncio.ensure_future(count(20)) for _ in range(10)]
        for _ in range(5):
            await asyncio.sleep(0.005)
            await one.close()
        await asyncio.gather(*tasks)
        assert await other.get("busy") == "200"

    run(make, work)


class Slow(BatchedStore):
    """Answers when it is let; notes what was asked together."""

    def __init__(self) -> None:
        super().__init__(Metrics())
        self.gate = asyncio.Event()
        self.asked: list[int] = []
        self.error: Exception | None = None

    async def _run(self, operations: Sequence[Operation]) -> Sequence[Any]:
        self.asked.append(len(operations))
        await self.gate.wait()
        if self.error:
            raise self.error
        return ["x"] * len(operations)

    async def _release(self) -> None:
        pass


def test_what_is_asked_meanwhile_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        store = Slow()
        tasks = [asyncio.ensure_future(store.get("a"))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.ensure_future(store.get("b")) for _ in range(250)]
        await asyncio.sleep(0.01)
        store.gate.set()
        assert await asyncio.gather(*tasks) == ["x"] * 251
        assert store.asked == [1, 200, 50]

    asyncio.run(work())


def test_who_gives_up_is_not_served() -> None:
    async def work() -> None:
        store = Slow()
        tasks = [asyncio.ensure_future(store.get("a"))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.ensure_future(store.get("b")) for _ in range(9)]
        await asyncio.sleep(0.01)
        for task in tasks[1:8]:
            task.cancel()
        store.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert store.asked == [1, 2]

    asyncio.run(work())


@pytest.mark.parametrize("error", [ValueError("rubbish"), TemporaryError("away")])
def test_whatever_goes_wrong_nobody_waits_for_ever(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        store = Slow()
        store.gate.set()
        store.error = error
        for _ in range(2):
            with pytest.raises(TemporaryError, match=str(error)):
                await store.get("a")
        store.error = None
        assert await store.get("a") == "x"
        store.gate.clear()
        task = asyncio.ensure_future(store.get("a"))
        await asyncio.sleep(0.01)
        monkeypatch.setattr(batch, "_LAST_ANSWER", 0.05)
        await store.close()
        with pytest.raises(TemporaryError, match="closed"):
            await task
        store.gate.set()
        assert await store.get("a") == "x"

    asyncio.run(work())


def test_a_store_that_hangs_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_WAITING", 3)

    async def work() -> None:
        store = Slow()
        tasks = [asyncio.ensure_future(store.get("a"))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.ensure_future(store.get("b")) for _ in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(TemporaryError, match="behind"):
            await store.get("c")
        tasks[1].cancel()
        await asyncio.sleep(0)
        room = asyncio.ensure_future(store.get("d"))
        await asyncio.sleep(0.01)
        assert not room.done()
        store.gate.set()
        assert await room == "x"

    asyncio.run(work())
