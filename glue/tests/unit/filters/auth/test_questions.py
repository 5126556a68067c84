from __future__ import annotations

import asyncio
import time

from postane.core.question import Answer, Question
from postane.filters.auth.questions import within


def test_all_questions_together_have_one_time_and_each_is_asked_once() -> None:
    asked: list[str] = []

    async def slow(question: Question) -> Answer:
        asked.append(question.name)
        await asyncio.sleep(0.01 if question.name == "quick" else 10)
        return Answer((question.name,))

    async def run() -> None:
        ask = within(slow, 0.2)
        both = tuple(await asyncio.gather(ask(Question("quick", "TXT")), ask(Question("quick", "TXT"))))
        assert both == (Answer(("quick",)),) * 2
        assert await ask(Question("quick", "TXT")) == Answer(("quick",))
        for name in ("a", "b", "a"):
            assert "no answer about" in (await ask(Question(name, "TXT"))).failed

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 5
    assert asked == ["quick", "a", "b"]
