"""Runs an evaluation: its questions go to whoever answers, with one time for all of them together."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from postane.core.question import Answer, Ask, Evaluation
from postane.filters.begun import until

T = TypeVar("T")

SECONDS = 20.0  # RFC 7208 section 4.6.4: at least


async def run(evaluation: Evaluation[T], ask: Ask, seconds: float = SECONDS) -> T:
    """What the evaluation decides. Once the time is over, every further answer is a failed one."""
    end = asyncio.get_running_loop().time() + seconds
    try:
        question = next(evaluation)
        while True:
            try:
                answer = await until(end, ask(question))
            except TimeoutError:
                answer = Answer(failed=f"DNS: no answer about {question.name} {question.kind} within {seconds:g} s")
            question = evaluation.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
