import asyncio
from contextlib import suppress

import pytest

from postane.filters.once import Once


class Work:
    """Counts how often it is done; ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.done = 0
        self.go = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.done += 1
        number = self.done
        await self.go.wait()
        if self._error is not None:
            raise self._error
        return number


def test_those_who_ask_share_one_result() -> None:
    async def ask() -> None:
        once, work = Once(), Work()
        waiting = [asyncio.ensure_future(once.get("m1", "spf", work)) for _ in range(3)]
        other = asyncio.ensure_future(once.get("m2", "spf", work))
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await other == 2
        assert await once.get("m1", "spf", work) == 1
        assert work.done == 2

    asyncio.run(ask())


def test_one_who_gives_up_takes_it_from_nobody_else() -> None:
    async def ask() -> None:
        once, work = Once(), Work()
        first = asyncio.ensure_future(once.get("m1", "spf", work))
        second = asyncio.ensure_future(once.get("m1", "spf", work))
        await asyncio.sleep(0)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        work.go.set()
        assert await second == 1

    asyncio.run(ask())


def test_an_error_is_everybodys_and_is_not_remembered() -> None:
    async def ask() -> None:
        once, work = Once(), Work(OSError("away"))
        work.go.set()
        for _ in range(2):
            with pytest.raises(OSError, match="away"):
                await once.get("m1", "spf", work)
        assert work.done == 2

    asyncio.run(ask())


def test_a_message_that_is_judged_is_forgotten_and_nobody_fills_our_memory() -> None:
    async def ask() -> None:
        once, work = Once(), Work()
        waiting = asyncio.ensure_future(once.get("m1", "spf", work))
        await asyncio.sleep(0)
        once.forget("m1")
        assert len(once) == 0
        work.go.set()
        assert await waiting == 1  # it is taken from nobody who waits
        assert await once.get("m1", "spf", work) == 2
        for number in range(1500):
            await once.get(f"never judged {number}", "spf", work)
        assert len(once) == 1000

    asyncio.run(ask())
