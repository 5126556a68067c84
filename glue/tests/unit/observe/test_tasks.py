from __future__ import annotations

import asyncio

from postane.observe.tasks import Tasks


def test_failure_is_told_and_the_task_forgotten() -> None:
    failures: list[tuple[str, str]] = []

    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        tasks = Tasks(lambda name, error: failures.append((name, str(error))))
        tasks.start("doomed", fail())
        assert await tasks.drain(1)
        await asyncio.sleep(0)
        assert len(tasks) == 0

    asyncio.run(main())
    assert failures == [("doomed", "no")]


def test_drain_gives_up_and_close_cancels() -> None:
    async def main() -> None:
        tasks = Tasks()
        task = tasks.start("slow", asyncio.sleep(60))
        assert not await tasks.drain(0.01)
        await tasks.close()
        assert task.cancelled()

    asyncio.run(main())


def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1

    async def main() -> None:
        tasks = Tasks()
        task = tasks.start("deaf", deaf())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await tasks.close()
        assert task.cancelled()

    asyncio.run(main())
    assert lost == 1
