from __future__ import annotations

import asyncio

import pytest

from postane.core.question import Answer, Evaluation, Question
from postane.filters.auth import dialogue


def three() -> Evaluation[list[Answer]]:
    """Asks three times, and decides that this is what it heard."""
    answers = []
    for at in range(3):
        answers.append((yield Question(f"q{at}.example", "A")))
    return answers


def test_answers_go_back_in_order() -> None:
    async def ask(question: Question) -> Answer:
        await asyncio.sleep(0)
        return Answer((question.name,))

    assert asyncio.run(dialogue.run(three(), ask)) == [Answer((f"q{at}.example",)) for at in range(3)]


def test_an_evaluation_that_asks_nothing() -> None:
    def none() -> Evaluation[int]:
        return 7
        yield  # makes a generator of it

    async def ask(question: Question) -> Answer:
        raise AssertionError

    assert asyncio.run(dialogue.run(none(), ask)) == 7


def test_the_time_is_for_all_questions_together() -> None:
    async def ask(question: Question) -> Answer:
        await asyncio.sleep(0 if question.name == "q0.example" else 60)
        return Answer(("192.0.2.1",))

    async def main() -> list[Answer]:
        begun = asyncio.get_running_loop().time()
        answers = await dialogue.run(three(), ask, 0.2)
        assert asyncio.get_running_loop().time() - begun < 1
        return answers

    first, second, third = asyncio.run(main())
    assert first == Answer(("192.0.2.1",))
    assert second.failed == "DNS: no answer about q1.example A within 0.2 s"
    assert third.failed == "DNS: no answer about q2.example A within 0.2 s"


def test_being_cancelled_is_no_answer() -> None:
    async def ask(question: Question) -> Answer:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(dialogue.run(three(), ask))
