"""The operator's socket, asked as `postane queue` asks it, with a real queue behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.bounce.notices import DsnNotices
from postane.config.model import Queue
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.ids import make_id
from postane.core.ports import Resolved
from postane.core.reply import Reply
from postane.queue.control import Answer, Control, Filter, Request
from postane.queue.runner import QueueRunner
from support.queue import Doors, Mail, MemoryStore, any_mailbox

START = 1_800_000_000.0
Ask = Callable[..., Awaitable[Answer]]


class Host:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.doors = Doors()
        self.now = START
        self.runner = QueueRunner(
            self.store,
            self.doors,
            DsnNotices("h.test", self._nobody, any_mailbox, lambda: self.now),
            Queue(),
            now=lambda: self.now,
        )
        self.control = Control(self.runner)

    async def _nobody(self, address: Address) -> Resolved:
        return Resolved(False)

    def mail(self, number: int, to: str, sender: str, said: str, age: float = 0.0) -> str:
        self.doors.says[to] = Reply(451, "4.3.0", said)
        at = self.now - age
        envelope = Envelope(
            make_id(at, number.to_bytes(10, "big")),
            sender,
            (Recipient(to, to, "remote"),),
            at,
            tenant="bakery" if sender else "",
        )
        return self.store.accept(Mail(envelope)).envelope.id

    async def settle(self) -> None:
        self.runner._wake.set()
        for _ in range(40):
            await asyncio.sleep(0)

    async def ask(self, do: str, dry_run: bool = False, limit: int = 1000, **wanted: Any) -> Answer:
        request = msgspec.json.encode({"do": do, "filter": wanted, "dry_run": dry_run, "limit": limit})
        answer = await self.control.answer(request)
        await self.settle()
        return answer


def hosted(test: Callable[[Host], Awaitable[None]]) -> None:
    async def main() -> None:
        host = Host()
        task = asyncio.create_task(host.runner.run())
        host.one = host.mail(1, "bob@far.test", "ayse@demo.test", "greylisted", age=7200)  # type: ignore[attr-defined]
        host.two = host.mail(2, "eve@else.test", "", "mailbox busy")  # type: ignore[attr-defined]
        await host.settle()
        try:
            await test(host)
        finally:
            host.runner.stop()
            await host.runner.drain(1)
            await task

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, 2),
        ({"tenant": "Bakery"}, 1),
        ({"tenant": "bake"}, 0),
        ({"sender": "AYSE@"}, 1),
        ({"sender": "<>"}, 1),
        ({"recipient": "eve@else"}, 1),
        ({"domain": "far.test"}, 1),
        ({"domain": "DEMO.test"}, 1),
        ({"domain": "emo.test"}, 0),
        ({"destination": "else.test"}, 1),
        ({"reason": "GREYLIST"}, 1),
        ({"older": 3600.0}, 1),
        ({"older": 3600.0, "destination": "else.test"}, 0),
        ({"held": True}, 0),
        ({"held": False}, 2),
        ({"ids": ["nope"]}, 0),
    ],
)
def test_filters(wanted: dict[str, Any], found: int) -> None:
    async def test(host: Host) -> None:
        answer = await host.ask("list", **wanted)
        assert answer.count == len(answer.messages) == found

    hosted(test)


def test_list_tells_state_and_words() -> None:
    async def test(host: Host) -> None:
        answer = await host.ask("list", limit=1)
        assert answer.count == 2
        (message,) = answer.messages
        assert message.age == 7200
        (recipient,) = message.recipients
        assert recipient.state == "waiting"
        assert recipient.attempts == 1
        assert recipient.next_attempt > START
        assert "greylisted" in recipient.reply
        assert recipient.remote == "peer.test"
        assert message.headers == ""
        shown = await host.ask("show", ids=[message.id])
        assert "Subject: hello" in shown.messages[0].headers

    hosted(test)


def test_dry_run_changes_nothing() -> None:
    async def test(host: Host) -> None:
        for verb in ("hold", "retry", "drop"):
            answer = await host.ask(verb, dry_run=True)
            assert answer.count == 2
        assert len(host.doors.calls) == 2
        assert not any(message.held for message in (await host.ask("list")).messages)

    hosted(test)


def test_hold_release_retry_drop_and_what_is_on_the_disk() -> None:
    async def test(host: Host) -> None:
        await host.ask("hold", recipient="bob@")
        assert [mail.progress.held for mail in host.store.disk.values()] == [True, None]
        await host.ask("retry", held=False)
        assert len(host.doors.calls) == 3
        await host.ask("release", held=True)
        assert len(host.doors.calls) == 4
        await host.ask("drop", recipient="bob@")
        assert len(host.store.disk) == 1
        stats = (await host.ask("stats")).stats
        assert stats is not None
        assert (stats.messages, stats.held, stats.deliveries) == (1, 0, {"waiting": 1})

    hosted(test)


def test_stats_name_what_does_not_answer() -> None:
    async def test(host: Host) -> None:
        host.mail(3, "x@dead.test", "a@demo.test", "")
        host.doors.says["x@dead.test"] = Reply(451, "4.4.1", "dead.test: Connection refused")
        await host.settle()
        stats = (await host.ask("stats")).stats
        assert stats is not None
        (closed,) = stats.closed
        assert closed.name == "dead.test"
        assert closed.failures == 1
        assert "refused" in closed.reply

    hosted(test)


@pytest.mark.parametrize("line", [b"", b"garbage", b'{"do":"explode"}', b'{"do":"list","filter":{"colour":1}}'])
def test_bad_request_is_answered(line: bytes) -> None:
    async def test(host: Host) -> None:
        answer = await host.control.answer(line)
        assert "not understood" in answer.error

    hosted(test)


def test_socket_takes_many_requests_and_survives_rubbish(tmp_path: Path) -> None:
    async def test(host: Host) -> None:
        path = tmp_path / "queue.sock"
        path.touch()  # left by a dead process
        await host.control.start(path)
        assert path.stat().st_mode & 0o777 == 0o660
        reader, writer = await asyncio.open_unix_connection(path)
        for line in (b"rubbish\n", msgspec.json.encode(Request("list", Filter())) + b"\n"):
            writer.write(line)
            answer = json.loads(await reader.readline())
        assert answer["count"] == 2
        writer.close()
        await host.control.close()

    hosted(test)


def test_another_part_answers_what_is_for_it(tmp_path: Path) -> None:
    async def part(line: bytes) -> bytes:
        return b'{"heard":%d}' % len(line)

    async def main() -> None:
        control = Control(Host().runner, {"quarantine": part})
        await control.start(tmp_path / "queue.sock")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "queue.sock")
        said = []
        for line in (b'{"part":"quarantine","x":1}\n', b'{"part":"nobody","do":"stats"}\n', b'{"do":"stats"}\n'):
            writer.write(line)
            said.append(json.loads(await reader.readline()))
        assert said[0] == {"heard": 28}
        assert "not understood" in said[1]["error"]
        assert said[2]["stats"]["messages"] == 0
        writer.close()
        await control.close()

    asyncio.run(main())


def test_thousands_are_looked_at_while_mail_goes_on() -> None:
    async def test(host: Host) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        for number in range(3000):
            host.mail(10 + number, f"a{number}@many.test", "ayse@demo.test", "busy")
        await host.settle()
        task = asyncio.create_task(other())
        answer = await host.control.answer(msgspec.json.encode({"do": "hold", "filter": {"domain": "many.test"}}))
        task.cancel()
        assert answer.count == 3000
        assert turns >= 5
        assert sum(entry.held for entry in host.runner.entries.values()) == 3000

    hosted(test)
