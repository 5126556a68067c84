"""The questions of one message: put together once, each asked once, all within one time."""

from __future__ import annotations

import asyncio

from postane.core.question import Answer, Ask, Question


def within(ask: Ask, seconds: float) -> Ask:
    """The same questions, with one time for all of them together: after it each fails at once.

    What was asked before is answered from memory, and what is being asked is waited for rather than asked again.
    """
    end: list[float] = []
    asked: dict[Question, asyncio.Future[Answer]] = {}

    async def answer(question: Question) -> Answer:
        try:
            async with asyncio.timeout_at(end[0]):
                return await ask(question)
        except TimeoutError:
            return Answer(failed=f"DNS: no answer about {question.name} {question.kind} within {seconds:g} s for all")

    async def once(question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        if not end:
            end.append(loop.time() + seconds)
        if question not in asked:
            asked[question] = loop.create_task(answer(question))
        return await asyncio.shield(asked[question])

    return once
