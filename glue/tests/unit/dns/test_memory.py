"""What is known of the DNS: asked once by many, kept for its time, and never more at once than the bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from postane.core.errors import TemporaryError
from postane.dns.memory import FAILED, Memory


class Server:
    """Answers when it is let; `asked` are the keys in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.life = 60.0
        self.failure = ""
        self.go_on = asyncio.Event()
        self.go_on.set()

    def ask(self, key: str) -> Callable[[], Coroutine[Any, Any, tuple[str, float]]]:
        async def asking() -> tuple[str, float]:
            self.asked.append(key)
            await self.go_on.wait()
            if self.failure:
                raise TemporaryError(self.failure)
            return f"{key}!{len(self.asked)}", self.life

        return asking


Test = Callable[[Memory[str, str], Server, list[float]], Coroutine[Any, Any, None]]


def tried(test: Test, **bounds: int) -> None:
    async def main() -> None:
        now = [0.0]
        await test(Memory(lambda: now[0], **bounds), Server(), now)

    asyncio.run(main())


def test_one_question_for_all_who_ask_at_once_and_while_the_answer_holds() -> None:
    async def test(memory: Memory[str, str], server: Server, now: list[float]) -> None:
        assert await asyncio.gather(*(memory.get("a", server.ask("a")) for _ in range(5))) == ["a!1"] * 5
        now[0] = 59.9
        assert await memory.get("a", server.ask("a")) == "a!1"
        assert memory.known("a") == "a!1"
        now[0] = 60.0
        assert memory.known("a") is None
        assert await memory.get("a", server.ask("a")) == "a!2"
        assert server.asked == ["a", "a"]

    tried(test)


def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    async def test(memory: Memory[str, str], server: Server, now: list[float]) -> None:
        server.go_on.clear()
        waiting = [asyncio.create_task(memory.get("a", server.ask("a"))) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()  # the one who asked first
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await memory.get("a", server.ask("a"))
        server.go_on.set()
        assert await waiting[1] == await waiting[2] == "a!1"
        # The same where all have given up: the answer is there for the next.
        server.go_on.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await memory.get("b", server.ask("b"))
        server.go_on.set()
        await asyncio.sleep(0.01)
        assert memory.known("b") == "b!2"
        assert server.asked == ["a", "b"]

    tried(test)


def test_a_failure_is_everybodys_for_a_moment() -> None:
    async def test(memory: Memory[str, str], server: Server, now: list[float]) -> None:
        server.failure = "silent"
        for _ in range(3):
            with pytest.raises(TemporaryError, match="silent"):
                await memory.get("a", server.ask("a"))
        assert server.asked == ["a"]
        server.failure = ""
        now[0] = FAILED
        assert await memory.get("a", server.ask("a")) == "a!2"

    tried(test)


def test_questions_under_way_are_bounded() -> None:
    async def test(memory: Memory[str, str], server: Server, now: list[float]) -> None:
        server.go_on.clear()
        waiting = [asyncio.create_task(memory.get(key, server.ask(key))) for key in "abc"]
        await asyncio.sleep(0.01)
        assert server.asked == ["a", "b"]  # c waits for its turn
        with pytest.raises(TemporaryError, match="3 questions are under way"):
            await memory.get("d", server.ask("d"))
        assert memory.known("d") is None
        server.go_on.set()
        assert len(await asyncio.gather(*waiting)) == 3
        assert await memory.get("d", server.ask("d")) == "d!4"  # the refusal was no answer

    tried(test, at_once=2, in_line=3)
