"""What is begun at once waits as a task does, and lets nothing out that would end the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from postane.filters.begun import Begun, until

PLACE: ContextVar[str] = ContextVar("place", default="outside")

Work = Callable[[], Coroutine[Any, Any, object]]


async def asked(work: Work) -> tuple[Begun, bool]:
    """The question with its answer, and whether it had one at once."""
    question = Begun(work())
    task = question.begin(asyncio.get_running_loop())
    at_once = bool(question.ended)
    await asyncio.wait([task])
    assert task.exception() is None
    return question, at_once


async def says() -> str:
    return "well"


async def turns() -> str:
    await asyncio.sleep(0)
    return "well"


async def waits() -> str:
    await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)
    return "well"


async def catches() -> str:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(failing.set_exception, ValueError("no"))
    try:
        await failing
    except ValueError:
        return "well"
    return "unheard"


async def is_late_within() -> str:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)
    except TimeoutError:
        return "well"
    return "unheard"


@pytest.mark.parametrize("work", [says, turns, waits, catches, is_late_within])
def test_it_answers_as_if_it_had_been_awaited(work: Work) -> None:
    question, at_once = asyncio.run(asked(work))
    assert (question.answer, question.error) == ("well", None)
    assert at_once is (work is says)
    assert question.ended >= question.begun


async def raises() -> None:
    raise ValueError("no")


async def leaves() -> None:
    raise SystemExit(1)


async def waits_and_leaves() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def ends_as_a_generator() -> None:
    raise GeneratorExit


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (raises, ValueError),
        (leaves, SystemExit),
        (waits_and_leaves, KeyboardInterrupt),
        (cancels_itself, asyncio.CancelledError),
        (ends_as_a_generator, GeneratorExit),
    ],
)
def test_what_it_raises_is_a_value(work: Work, error: type[BaseException]) -> None:
    question, _ = asyncio.run(asked(work))
    assert isinstance(question.error, error)
    assert question.ended


def test_it_is_the_current_task_and_has_a_context_of_its_own_from_the_first_step() -> None:
    seen: list[object] = []

    async def looks() -> None:
        PLACE.set("inside")
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.extend([asyncio.current_task(), PLACE.get()])

    async def run() -> None:
        outer = asyncio.current_task()
        task = Begun(looks()).begin(asyncio.get_running_loop())
        assert asyncio.current_task() is outer
        assert PLACE.get() == "outside"
        await task
        assert seen == [task, task, "inside"]

    asyncio.run(run())


def test_a_task_cancelled_before_its_second_step_lets_the_question_clean_up() -> None:
    told: list[str] = []

    async def cleans() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("clean")

    async def run() -> Begun:
        question = Begun(cleans())
        task = question.begin(asyncio.get_running_loop())
        task.cancel()
        await asyncio.wait([task])
        return question

    question = asyncio.run(run())
    assert told == ["clean"]
    assert isinstance(question.error, asyncio.CancelledError)


def test_one_that_has_ended_is_not_disturbed_by_a_late_cancel() -> None:
    async def run() -> Begun:
        question = Begun(says())
        task = question.begin(asyncio.get_running_loop())
        task.cancel()
        await asyncio.wait([task])
        return question

    assert asyncio.run(run()).answer == "well"


def test_what_is_known_at_once_takes_no_timer_and_what_is_late_is_a_timeout() -> None:
    async def fails() -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def run() -> None:
        now = asyncio.get_running_loop().time()
        assert await until(now - 1, says()) == "well"
        assert await until(now + 60, waits()) == "well"
        assert await until(now + 60, catches()) == "well"
        assert await until(now + 60, is_late_within()) == "well"
        with pytest.raises(ValueError, match="no"):
            await until(now + 60, fails())
        with pytest.raises(ValueError, match="no"):
            await until(now + 60, raises())
        with pytest.raises(TimeoutError):
            await until(now + 0.01, asyncio.sleep(60))

    asyncio.run(run())


def test_who_is_cancelled_while_it_waits_ends_what_it_asked() -> None:
    told: list[str] = []

    async def cleans() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("clean")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(until(loop.time() + 60, cleans()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert told == ["clean"]
