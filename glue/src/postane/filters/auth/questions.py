"""The questions of one message: put together once, each asked once, all within one time."""

from __future__ import annotations

import asyncio

from postane.core.question import Answer, Ask, Question
from postane.filters.begun import until


def within(ask: Ask, seconds: float) -> Ask:
    """The same questions, with one time for all of them together: after it each fails at once.

    What was asked before is answered from memory, and what is being asked is waited for rather than asked again.
    """
    end: list[float] = []
    asked: dict[Question, Answer | asyncio.Future[Answer]] = {}

    async def once(question: Question) -> Answer:
        known = asked.get(question)
        if known is not None:
            return known if isinstance(known, Answer) else await asyncio.shield(known)
        loop = asyncio.get_running_loop()
        if not end:
            end.append(loop.time() + seconds)
        asked[question] = waiting = loop.create_future()
        try:
            answer = await until(end[0], ask(question))
        except TimeoutError:
            answer = Answer(failed=f"DNS: no answer about {question.name} {question.kind} within {seconds:g} s for all")
        except BaseException:  # whoever else waits for it must not wait for ever
            waiting.cancel()
            raise
        asked[question] = answer
        waiting.set_result(answer)
        return answer

    return once
