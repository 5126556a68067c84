"""The LMTP client against a scripted server: mixed, slow, half-dead and dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postane.config.model import Delivery
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import CorruptSpoolError
from postane.core.outcome import Fate, Outcome
from postane.delivery.lmtp import LmtpTransport
from postane.queue.schedule import Kind, kind_of
from support.lmtp import LmtpServer
from support.queue import TEXT, Mail

Test = Callable[[LmtpServer, LmtpTransport], Coroutine[Any, Any, None]]


def wire(tmp_path: Path, test: Test, **settings: Any) -> None:
    async def main() -> None:
        server = LmtpServer(tmp_path / "lmtp")
        await server.start()
        defaults: dict[str, Any] = {"lmtp": str(server.path), "command_timeout": 0.3, "data_timeout": 0.3}
        transport = LmtpTransport(Delivery(**{**defaults, **settings}), "mail.demo.test")
        try:
            await test(server, transport)
        finally:
            await transport.close()
            await server.stop()

    uvloop.run(asyncio.wait_for(main(), 20))  # the loop of the real processes


def mail(*to: str, text: bytes = TEXT, sender: str = "ayse@demo.test") -> tuple[Mail, list[Recipient]]:
    recipients = tuple(Recipient(address) for address in to)
    return Mail(Envelope("1" * 26, sender, recipients, 0.0), text), list(recipients)


def fates(outcomes: list[Outcome]) -> list[str]:
    return [outcome.fate.value for outcome in outcomes]


def test_many_recipients_one_transaction_each_with_its_own_end(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.rcpt = {"gone@d.test": "550 5.1.1 No such user"}
        server.final = {"full@d.test": "552 5.2.2 Quota exceeded", "slow@d.test": "451 4.2.0 locked"}
        message, to = mail("a@d.test", "gone@d.test", "full@d.test", "slow@d.test", "b@d.test")
        outcomes = await transport.deliver(message, to)
        assert fates(outcomes) == ["delivered", "failed", "failed", "delayed", "delivered"]
        assert str(outcomes[1].reply) == "550 5.1.1 No such user"
        assert str(outcomes[2].reply) == "552 5.2.2 Quota exceeded"
        assert {outcome.remote for outcome in outcomes} == {"lmtp"}
        ((sender, accepted, text),) = server.received
        assert sender == "ayse@demo.test"
        assert accepted == ["a@d.test", "full@d.test", "slow@d.test", "b@d.test"]
        assert text == TEXT

    wire(tmp_path, test)


def test_connection_is_used_again_also_after_refusals(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.rcpt = {"gone@d.test": "550 5.1.1 No such user"}
        for to in ("a@d.test", "gone@d.test", "b@d.test"):
            await transport.deliver(*mail(to))
        assert server.connections == 1
        assert [accepted for _, accepted, _ in server.received] == [["a@d.test"], ["b@d.test"]]

    wire(tmp_path, test)


def test_connection_that_the_server_closed_meanwhile_is_no_failure(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        await transport.deliver(*mail("a@d.test"))
        server.hang_up()
        assert fates(await transport.deliver(*mail("b@d.test"))) == ["delivered"]
        assert server.connections == 2

    wire(tmp_path, test)


@pytest.mark.parametrize("size", [10, 300_000, 5_000_000])
def test_dots_and_size(tmp_path: Path, size: int) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        line = b".leading dot\r\n..two\r\n" + b"x" * 70 + b"\r\n"
        text = b"A: b\r\n\r\n" + line * (size // len(line) + 1)
        assert fates(await transport.deliver(*mail("a@d.test", text=text))) == ["delivered"]
        assert server.received[0][2] == text

    wire(tmp_path, test, data_timeout=10.0)


def test_sender_in_utf8_goes_as_it_is_and_recipients_in_ascii(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        outcomes = await transport.deliver(*mail("çiğdem@demo.test", sender="şule@far.test"))
        assert fates(outcomes) == ["delivered"]
        assert "MAIL FROM:<şule@far.test>" in server.commands
        assert "RCPT TO:<utf8-c3a769c49f64656d@demo.test>" in server.commands
        assert outcomes[0].recipient == "çiğdem@demo.test"

    wire(tmp_path, test)


def test_server_that_refuses_a_sender_in_utf8_gets_the_mail_without_it(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.refuses_utf8 = True
        assert (
            fates(await transport.deliver(*mail("a@d.test", "b@d.test", sender="şule@far.test"))) == ["delivered"] * 2
        )
        assert [sender for sender, _, _ in server.received] == [""]

    wire(tmp_path, test)


def test_dead_server_delays_and_is_the_destinations_fault(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        await server.stop()
        server.path.unlink(missing_ok=True)
        (outcome,) = await transport.deliver(*mail("a@d.test"))
        assert outcome.fate is Fate.DELAYED
        assert kind_of(outcome) is Kind.UNREACHABLE
        assert "No such file" in outcome.reply.text

    wire(tmp_path, test)


@pytest.mark.parametrize("at", ["LHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("how", ["close", "silence"])
def test_half_dead_server_delays(tmp_path: Path, at: str, how: str) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.script[at] = how
        began = time.monotonic()
        outcomes = await transport.deliver(*mail("a@d.test", "b@d.test"))
        assert fates(outcomes) == ["delayed", "delayed"]
        assert time.monotonic() - began < 2
        assert kind_of(outcomes[0]) is Kind.UNREACHABLE
        server.script.clear()
        assert fates(await transport.deliver(*mail("a@d.test"))) == ["delivered"]

    wire(tmp_path, test)


def test_greeting_of_silence_or_refusal_delays(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        for greeting in ("silence", "close", "421 4.3.2 full", "554 5.3.2 not now", "garbage"):
            server.greeting = greeting
            assert fates(await transport.deliver(*mail("a@d.test"))) == ["delayed"], greeting

    wire(tmp_path, test)


def test_lost_after_half_of_the_replies_keeps_those_that_came(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.final = {"b@d.test": "close"}
        outcomes = await transport.deliver(*mail("a@d.test", "b@d.test", "c@d.test"))
        assert fates(outcomes) == ["delivered", "delayed", "delayed"]

    wire(tmp_path, test)


def test_mail_refused_counts_for_all(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.script = {"MAIL": "452 4.3.1 disk full", "RCPT": "503 5.5.1 MAIL first", "DATA": "503 5.5.1 MAIL first"}
        outcomes = await transport.deliver(*mail("a@d.test", "b@d.test"))
        assert [str(o.reply) for o in outcomes] == ["452 4.3.1 disk full"] * 2

    wire(tmp_path, test)


def test_data_refused_counts_for_all_accepted(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.script = {"DATA": "451 4.3.0 later"}
        assert fates(await transport.deliver(*mail("a@d.test"))) == ["delayed"]
        server.script.clear()
        assert fates(await transport.deliver(*mail("a@d.test"))) == ["delivered"]
        assert server.connections == 1

    wire(tmp_path, test)


def test_slow_server_is_waited_for(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.delay = 0.1
        assert fates(await transport.deliver(*mail("a@d.test", "b@d.test"))) == ["delivered", "delivered"]

    wire(tmp_path, test)


def test_more_than_a_hundred_recipients_go_in_several(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        outcomes = await transport.deliver(*mail(*(f"u{n}@d.test" for n in range(250))))
        assert len(outcomes) == 250
        assert [len(accepted) for _, accepted, _ in server.received] == [100, 100, 50]

    wire(tmp_path, test)


def test_concurrent_messages_have_connections_of_their_own(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        server.delay = 0.02
        await asyncio.gather(*(transport.deliver(*mail(f"u{n}@d.test")) for n in range(5)))
        assert server.connections == 5
        await transport.deliver(*mail("a@d.test"))
        assert server.connections == 5

    wire(tmp_path, test)


def test_damaged_message_is_not_begun(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        message, to = mail("a@d.test")
        message.failure = CorruptSpoolError("bad sum")
        with pytest.raises(CorruptSpoolError):
            await transport.deliver(message, to)
        assert not server.commands

    wire(tmp_path, test)


def test_over_tcp(tmp_path: Path) -> None:
    async def test(server: LmtpServer, transport: LmtpTransport) -> None:
        tcp = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        over = LmtpTransport(Delivery(lmtp=f"127.0.0.1:{port}"), "mail.demo.test")
        assert fates(await over.deliver(*mail("a@d.test"))) == ["delivered"]
        await over.close()
        tcp.close()

    wire(tmp_path, test)
