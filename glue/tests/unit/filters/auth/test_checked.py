"""SPF is evaluated once a transaction and a message authenticated once, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.filters.auth import checked
from postane.filters.auth.checked import SpfResults, authenticated, spf
from postane.filters.base import Tools
from postane.spool.draft import Draft
from support.zone import Zone

PEER = Peer(Service.SMTP, "192.0.2.3", 4711, "h.example")
ZONE = """
pass.example TXT v=spf1 ip4:192.0.2.0/24 -all
down.example FAIL
"""


class World:
    now = 1000.0

    def __init__(self) -> None:
        self.zone = Zone(ZONE)
        self.tools = Tools("mx.test", Dns(), lambda: self.now)
        self.fails = False

    async def ask(self, question: Question) -> Answer:
        await asyncio.sleep(0.01)
        if self.fails:
            raise ValueError("broken")
        return self.zone.answer(question)

    async def spf(self, sender: str, peer: Peer = PEER) -> str:
        return str((await spf(self.tools, self.ask, peer, sender, 5)).result)


def tried(test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(World())

    asyncio.run(main())


def test_who_asks_at_once_or_soon_has_one_result() -> None:
    async def test(world: World) -> None:
        assert await asyncio.gather(*(world.spf("a@pass.example") for _ in range(3))) == ["pass"] * 3
        world.now += checked.LIFE - 1
        assert await world.spf("a@pass.example") == "pass"
        assert len(world.zone.questions) == 1
        # Another sender, another client, and the same much later, are others.
        await world.spf("b@pass.example")
        await world.spf("a@pass.example", Peer(Service.SMTP, "192.0.2.4", 1, "h.example"))
        await world.spf("a@pass.example", Peer(Service.SMTP, "192.0.2.3", 1, "g.example"))
        assert len(world.zone.questions) == 4
        world.now += 2
        await world.spf("a@pass.example")
        assert len(world.zone.questions) == 5

    tried(test)


def test_what_fails_is_not_remembered_for_long() -> None:
    async def test(world: World) -> None:
        assert await world.spf("a@down.example") == "temperror"
        world.now += 9
        assert await world.spf("a@down.example") == "temperror"
        assert len(world.zone.questions) == 1
        world.now += 1
        await world.spf("a@down.example")
        assert len(world.zone.questions) == 2
        world.fails = True
        with pytest.raises(ValueError, match="broken"):
            await world.spf("c@pass.example")
        world.fails = False
        assert await world.spf("c@pass.example") == "pass"

    tried(test)


def test_who_gives_up_takes_it_from_nobody() -> None:
    async def test(world: World) -> None:
        first = asyncio.create_task(world.spf("a@pass.example"))
        await asyncio.sleep(0)
        second = asyncio.create_task(world.spf("a@pass.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "pass"
        assert len(world.zone.questions) == 1

    tried(test)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "KEPT", 3)

    async def test(world: World) -> None:
        for at in range(9):
            await world.spf(f"a{at}@pass.example")
        assert len(world.tools.shared("spf", SpfResults)) == 3

    tried(test)


def test_a_message_is_authenticated_once_and_with_the_spf_of_its_transaction() -> None:
    async def test(world: World) -> None:
        await world.spf("a@pass.example")
        envelope = Envelope("01ID", "a@pass.example", (Recipient("b@y.test"),), 0.0)
        body = Draft(Path("/nowhere"), "x", 1 << 20)
        body.append(b"From: a@pass.example\r\n\r\nHello\r\n")
        calls = [authenticated(world.tools, world.ask, PEER, envelope, body, 5) for _ in range(2)]
        one, other = await asyncio.gather(*calls)
        assert one is other
        assert str(one.spf.result) == "pass"
        asked = [question for question in world.zone.questions if question.name == "pass.example"]
        assert len(asked) == 1
        assert await authenticated(world.tools, world.ask, PEER, envelope, body, 5, suffix_list=True) is not one

    tried(test)
