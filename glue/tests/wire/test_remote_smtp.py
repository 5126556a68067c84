"""Mail to foreign servers: real sockets on 127.0.0.x, real DNS messages, nothing beyond this machine."""

from __future__ import annotations

import asyncio
import mmap
import ssl
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import dns.rcode
import pytest
import uvloop

from postane.config.model import Delivery, Dns
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.outcome import Outcome
from postane.delivery.mx import OwnHost
from postane.delivery.smtp import SmtpTransport
from postane.dns.resolver import Resolver
from postane.queue.schedule import Kind, kind_of
from support.dns import NameServer
from support.mta import Mta, certificate
from support.queue import TEXT, Mail


class Net:
    """A small internet: a name server, servers on one port of 127.0.0.x, and our transport."""

    def __init__(self) -> None:
        self.dns = NameServer()
        self.port = 0
        self.servers: list[Mta] = []
        self.nameserver = ""
        self._transports: list[SmtpTransport] = []

    async def server(self, address: str, **options: Any) -> Mta:
        server = Mta(address, **options)
        self.port = await server.start(self.port)
        self.servers.append(server)
        return server

    def transport(self, **settings: Any) -> SmtpTransport:
        defaults: dict[str, Any] = {
            "smtp_port": self.port or 1,
            "connect_timeout": 1.0,
            "command_timeout": 0.5,
            "data_timeout": 0.5,
            "ipv6": False,
        }
        ours = OwnHost({"mail.demo.test"}, {"127.0.0.99"}, loopback=False)
        resolver = Resolver(Dns(nameservers=(self.nameserver,), timeout=0.5))
        one = SmtpTransport(Delivery(**{**defaults, **settings}), "mail.demo.test", resolver, ours, Random(1))
        self._transports.append(one)
        return one

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()
        for server in self.servers:
            await server.stop()
        self.dns.stop()
        await asyncio.sleep(0.01)


def net(test: Callable[[Net], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        one = Net()
        one.nameserver = await one.dns.start()
        try:
            await test(one)
        finally:
            await one.close()

    uvloop.run(asyncio.wait_for(main(), 20))  # the loop of the real processes


def mail(*to: str | Recipient, text: bytes = TEXT, **more: Any) -> tuple[Mail, list[Recipient]]:
    recipients = [Recipient(r, r, "remote") if isinstance(r, str) else r for r in to]
    return Mail(
        Envelope("1" * 26, more.pop("sender", "ayse@demo.test"), tuple(recipients), 0.0, **more), text
    ), recipients


def fates(outcomes: list[Outcome]) -> list[str]:
    return [outcome.fate.value for outcome in outcomes]


def test_by_mx_once_for_all_recipients_with_the_peers_words() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2")
        n.dns.add("far.test", "MX", "10 mx.far.test.")
        n.dns.add("mx.far.test", "A", "127.0.0.2")
        peer.rcpt = {"no@far.test": "550 5.1.1 Nobody", "later@far.test": "450 4.2.1 Busy"}
        outcomes = await n.transport().deliver(*mail("a@far.test", "no@far.test", "later@far.test", "b@far.test"))
        assert fates(outcomes) == ["relayed", "failed", "delayed", "relayed"]
        assert str(outcomes[1].reply) == "550 5.1.1 Nobody"
        assert outcomes[1].remote == "mx.far.test[127.0.0.2]"
        (envelope,) = peer.received
        assert envelope.rcpt_tos == ["a@far.test", "b@far.test"]
        assert envelope.content == TEXT
        assert f"SIZE={len(TEXT)}" in envelope.mail_options

    net(test)


def test_next_server_after_no_answer_and_after_a_refusing_greeting() -> None:
    async def test(n: Net) -> None:
        good = await n.server("127.0.0.4")

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"421 4.3.2 closing for lunch\r\n")
            writer.close()

        lunch = await asyncio.start_server(refuse, "127.0.0.3", n.port)
        n.dns.add("far.test", "MX", "10 dead.far.test.", "20 lunch.far.test.", "30 good.far.test.")
        n.dns.add("dead.far.test", "A", "127.0.0.2")
        n.dns.add("lunch.far.test", "A", "127.0.0.3")
        n.dns.add("good.far.test", "A", "127.0.0.4")
        outcomes = await n.transport().deliver(*mail("a@far.test"))
        assert fates(outcomes) == ["relayed"]
        assert len(good.received) == 1
        lunch.close()

    net(test)


def test_no_next_server_after_a_refused_recipient() -> None:
    async def test(n: Net) -> None:
        first, second = await n.server("127.0.0.2"), await n.server("127.0.0.3")
        n.dns.add("far.test", "MX", "10 one.far.test.", "20 two.far.test.")
        n.dns.add("one.far.test", "A", "127.0.0.2")
        n.dns.add("two.far.test", "A", "127.0.0.3")
        first.rcpt = {"a@far.test": "550 5.1.1 Nobody"}
        assert fates(await n.transport().deliver(*mail("a@far.test"))) == ["failed"]
        assert second.connections == 0

    net(test)


def test_all_dead_is_unreachable() -> None:
    async def test(n: Net) -> None:
        await n.server("127.0.0.9")
        n.dns.add("far.test", "A", "127.0.0.2", "127.0.0.3")
        (outcome,) = await n.transport().deliver(*mail("a@far.test"))
        assert kind_of(outcome) is Kind.UNREACHABLE
        assert "Connect" in outcome.reply.text

    net(test)


@pytest.mark.parametrize(
    ("records", "code", "status"),
    [
        ({("far.test", "MX"): ["0 ."]}, 556, "5.1.10"),
        ({}, 550, "5.1.2"),
        ({("far.test", "TXT"): ["x"]}, 550, "5.4.4"),
        ({("far.test", "MX"): ["10 mail.demo.test."]}, 554, "5.4.6"),
        ({("far.test", "MX"): ["10 other.far.test."], ("other.far.test", "A"): ["127.0.0.99"]}, 554, "5.4.6"),
        ({("far.test", "MX"): ["10 gone.far.test."]}, 550, "5.4.4"),
    ],
)
def test_domains_that_never_get_mail(records: dict[tuple[str, str], list[str]], code: int, status: str) -> None:
    async def test(n: Net) -> None:
        n.dns.add("com.test", "A", "127.0.0.1")
        n.dns.records.update(records)
        (outcome,) = await n.transport().deliver(*mail("a@far.test"))
        assert (outcome.fate.value, outcome.reply.code, outcome.reply.enhanced) == ("failed", code, status)

    net(test)


@pytest.mark.parametrize("fault", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, None])
def test_dns_that_does_not_answer_delays(fault: dns.rcode.Rcode | None) -> None:
    async def test(n: Net) -> None:
        n.dns.faults["far.test"] = fault
        (outcome,) = await n.transport().deliver(*mail("a@far.test"))
        assert kind_of(outcome) is Kind.UNREACHABLE
        assert outcome.reply.enhanced == "4.4.3"
        assert "far.test" in outcome.reply.text

    net(test)


def test_worse_mx_than_ours_are_not_tried() -> None:
    async def test(n: Net) -> None:
        better, worse = await n.server("127.0.0.2"), await n.server("127.0.0.3")
        n.dns.add("far.test", "MX", "10 one.far.test.", "20 mail.demo.test.", "30 two.far.test.")
        n.dns.add("one.far.test", "A", "127.0.0.2")
        n.dns.add("two.far.test", "A", "127.0.0.3")
        assert fates(await n.transport().deliver(*mail("a@far.test"))) == ["relayed"]
        await better.stop()
        assert fates(await n.transport().deliver(*mail("a@far.test"))) == ["delayed"]
        assert worse.connections == 0

    net(test)


def test_tls_where_offered_and_in_clear_where_it_breaks(tmp_path: Path) -> None:
    async def test(n: Net) -> None:
        sound = await n.server("127.0.0.2", tls_context=certificate(tmp_path))
        context = certificate(tmp_path)
        context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # does not fit the certificate: every handshake breaks
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        broken = await n.server("127.0.0.3", tls_context=context)
        n.dns.add("sound.test", "A", "127.0.0.2")
        n.dns.add("broken.test", "A", "127.0.0.3")
        transport = n.transport()
        assert fates(await transport.deliver(*mail("a@sound.test"))) == ["relayed"]
        assert fates(await transport.deliver(*mail("a@broken.test"))) == ["relayed"]
        assert (sound.tls, broken.tls) == ([True], [False])

    net(test)


def test_connection_is_used_again_and_closed_when_idle() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2")
        n.dns.add("far.test", "A", "127.0.0.2")
        transport = n.transport(idle_seconds=0.2)
        for _ in range(3):
            await transport.deliver(*mail("a@far.test"))
        assert (peer.connections, len(peer.received)) == (1, 3)
        await asyncio.sleep(0.4)
        await transport.deliver(*mail("a@far.test"))
        assert peer.connections == 2

    net(test)


def test_connection_that_died_meanwhile_is_no_failure() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2", timeout=0.1)
        n.dns.add("far.test", "A", "127.0.0.2")
        transport = n.transport()
        await transport.deliver(*mail("a@far.test"))
        await asyncio.sleep(0.3)
        assert fates(await transport.deliver(*mail("a@far.test"))) == ["relayed"]
        assert len(peer.received) == 2

    net(test)


def test_utf8_goes_where_it_is_taken_and_bounces_where_not() -> None:
    async def test(n: Net) -> None:
        modern, old = await n.server("127.0.0.2"), await n.server("127.0.0.3", enable_SMTPUTF8=False)
        n.dns.add("modern.test", "A", "127.0.0.2")
        n.dns.add("old.test", "A", "127.0.0.3")
        transport = n.transport()
        text = "Subject: ölçü\r\n\r\nx\r\n".encode()
        message, to = mail("çiğdem@modern.test", text=text, smtputf8=True, sender="şule@demo.test")
        assert fates(await transport.deliver(message, to)) == ["relayed"]
        assert "SMTPUTF8" in modern.received[0].mail_options
        message, to = mail("çiğdem@old.test", "ok@old.test", smtputf8=True)
        outcomes = await transport.deliver(message, to)
        assert fates(outcomes) == ["failed", "relayed"]
        assert str(outcomes[0].reply).startswith("553 5.6.7")
        message, to = mail("ok@old.test", text=text, smtputf8=True)
        assert fates(await transport.deliver(message, to)) == ["failed"]
        message, to = mail("ok@old.test", text=b"A: b\r\n\r\n\xff\xfe\r\n", body_8bit=True)
        assert fates(await transport.deliver(message, to)) == ["relayed"], "8-bit text goes as it is"
        assert len(old.received) == 2

    net(test)


def test_size_is_seen_before_the_text_is_sent() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2", data_size_limit=1000)
        n.dns.add("far.test", "A", "127.0.0.2")
        transport = n.transport()
        (outcome,) = await transport.deliver(*mail("a@far.test", text=b"A: b\r\n\r\n" + b"x" * 2000))
        assert str(outcome.reply).startswith("552 5.3.4")
        assert fates(await transport.deliver(*mail("a@far.test"))) == ["relayed"]
        assert peer.connections == 1

    net(test)


def test_dsn_is_passed_on_where_offered() -> None:
    async def test(n: Net) -> None:
        lines: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                lines.append(line.decode().strip())
                replies = {b"EHLO": b"250-x\r\n250 DSN\r\n", b"DATA": b"354 go\r\n"}
                writer.write(replies.get(line[:4], b"250 2.0.0 ok\r\n"))
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 2.0.0 ok\r\n")

        server = await asyncio.start_server(serve, "127.0.0.2", 0)
        n.port = server.sockets[0].getsockname()[1]
        n.dns.add("far.test", "A", "127.0.0.2")
        recipient = Recipient("a@far.test", "info+x@demo.test", "remote", (Notify.SUCCESS, Notify.DELAY))
        outcomes = await n.transport().deliver(*mail(recipient, ret="HDRS", envid="QQ1"))
        assert fates(outcomes) == ["delivered"], "the peer tells of success, so we need not"
        assert "MAIL FROM:<ayse@demo.test> RET=HDRS ENVID=QQ1" in lines
        assert "RCPT TO:<a@far.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;info+2Bx@demo.test" in lines
        server.close()

    net(test)


@pytest.mark.parametrize("final", ["554 5.7.1 Spam", "451 4.7.1 Greylisted"])
def test_refused_text_counts_for_all_and_keeps_the_connection(final: str) -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2")
        n.dns.add("far.test", "A", "127.0.0.2")
        peer.final = final
        transport = n.transport()
        outcomes = await transport.deliver(*mail("a@far.test", "b@far.test"))
        assert {str(outcome.reply) for outcome in outcomes} == {final}
        peer.final = None
        assert fates(await transport.deliver(*mail("a@far.test"))) == ["relayed"]
        assert peer.connections == 1

    net(test)


@pytest.mark.parametrize("after", ["connect", "EHLO", "MAIL", "RCPT", "DATA", "the text"])
@pytest.mark.parametrize("silent", [False, True])
def test_server_that_breaks_off_or_falls_silent_delays(after: str, silent: bool) -> None:
    async def test(n: Net) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def stop() -> None:
                if silent:
                    await asyncio.sleep(5)
                writer.close()

            if after == "connect":
                return await stop()
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                if line.decode().strip().startswith(after):
                    return await stop()
                writer.write(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    return await stop()
            return None

        server = await asyncio.start_server(serve, "127.0.0.2", 0)
        n.port = server.sockets[0].getsockname()[1]
        n.dns.add("far.test", "A", "127.0.0.2")
        began = time.monotonic()
        (outcome,) = await n.transport(connect_timeout=0.3, command_timeout=0.3, data_timeout=0.3).deliver(
            *mail("a@far.test", text=b"A: b\r\n\r\nx\r\n")
        )
        assert outcome.fate.value == "delayed"
        assert time.monotonic() - began < 3
        server.close()

    net(test)


def test_helo_where_ehlo_is_unknown() -> None:
    async def test(n: Net) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                if line.startswith(b"EHLO"):
                    writer.write(b"502 what?\r\n")
                elif line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 ok\r\n")
                else:
                    writer.write(b"250 ok\r\n")

        server = await asyncio.start_server(serve, "127.0.0.2", 0)
        n.port = server.sockets[0].getsockname()[1]
        n.dns.add("far.test", "A", "127.0.0.2")
        assert fates(await n.transport().deliver(*mail("a@far.test"))) == ["relayed"]
        server.close()

    net(test)


def test_smarthost_takes_all_and_its_name_never_bounces_mail() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2")
        n.dns.add("relay.test", "A", "127.0.0.2")
        assert fates(await n.transport(smarthost=f"relay.test:{n.port}").deliver(*mail("a@any.test"))) == ["relayed"]
        assert fates(await n.transport(smarthost=f"127.0.0.2:{n.port}").deliver(*mail("a@any.test"))) == ["relayed"]
        assert fates(await n.transport(smarthost="wrong.test:25").deliver(*mail("a@any.test"))) == ["delayed"]
        assert len(peer.received) == 2

    net(test)


def test_address_literal() -> None:
    async def test(n: Net) -> None:
        peer = await n.server("127.0.0.2")
        outcomes = await n.transport().deliver(*mail("a@[127.0.0.2]"))
        assert fates(outcomes) == ["relayed"]
        assert fates(await n.transport().deliver(*mail("a@[127.0.0.99]"))) == ["failed"]
        assert len(peer.received) == 1

    net(test)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def scripted(n: Net, serve: Serve) -> asyncio.Server:
    """A server of the test's own at far.test."""
    server = await asyncio.start_server(serve, "127.0.0.2", 0)
    n.port = server.sockets[0].getsockname()[1]
    n.dns.add("far.test", "A", "127.0.0.2")
    return server


class Pipelining:
    """A server that answers a group of commands only once it has all of it, as DATA's place in it tells."""

    def __init__(self, rcpt: dict[str, str] | None = None, data: str = "354 go") -> None:
        self.rcpt = rcpt or {}
        self.data = data
        self.groups: list[list[str]] = []
        self.texts: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250-PIPELINING\r\n250 SIZE\r\n")
        group: list[str] = []
        while line := (await reader.readline()).decode().strip():
            group.append(line)
            if line == "RSET":
                writer.write(b"250 ok\r\n")
                group = []
            if line != "DATA":
                continue
            replies = [self.rcpt.get(one.partition("<")[2].rstrip(">"), "250 ok") for one in group[1:-1]]
            writer.write("".join(f"{reply}\r\n" for reply in ["250 ok", *replies, self.data]).encode())
            self.groups.append(group)
            group = []
            if self.data.startswith("354"):
                text = b""
                while not (b"\r\n" + text).endswith(b"\r\n.\r\n"):
                    text += await reader.readline()
                self.texts.append(text)
                writer.write(b"250 kept\r\n" if len(text) > 3 else b"554 nothing for nobody\r\n")
        writer.close()


def test_transaction_is_one_group_where_pipelining_is_offered() -> None:
    async def test(n: Net) -> None:
        peer = Pipelining({"no@far.test": "550 5.1.1 Nobody"})
        server = await scripted(n, peer.serve)
        transport = n.transport()
        outcomes = await transport.deliver(*mail("a@far.test", "no@far.test", "b@far.test", text=b"A: b\r\n\r\n.x\r\n"))
        assert fates(outcomes) == ["relayed", "failed", "relayed"]
        assert str(outcomes[1].reply) == "550 5.1.1 Nobody"
        assert fates(await transport.deliver(*mail("c@far.test"))) == ["relayed"]
        assert peer.connections == 1
        assert [len(group) for group in peer.groups] == [5, 3]
        assert peer.texts == [b"A: b\r\n\r\n..x\r\n.\r\n", TEXT + b".\r\n"]
        server.close()

    net(test)


@pytest.mark.parametrize("data", ["354 go", "503 5.5.1 no recipients"])
def test_group_of_which_no_recipient_is_taken_leaves_the_connection_sound(data: str) -> None:
    async def test(n: Net) -> None:
        peer = Pipelining({"no@far.test": "550 5.1.1 Nobody"}, data)
        server = await scripted(n, peer.serve)
        transport = n.transport()
        (outcome,) = await transport.deliver(*mail("no@far.test"))
        assert str(outcome.reply) == "550 5.1.1 Nobody"
        peer.data = "354 go"
        assert fates(await transport.deliver(*mail("a@far.test"))) == ["relayed"]
        assert peer.connections == 1
        assert peer.texts[-1] == TEXT + b".\r\n"
        server.close()

    net(test)


def test_refusal_in_the_midst_of_the_text_counts() -> None:
    async def test(n: Net) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                writer.write(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
                if line.startswith(b"DATA"):
                    await reader.readexactly(50_000)
                    writer.write(b"552 5.3.4 More than we want\r\n")
                    await writer.drain()
                    return writer.transport.abort() if reader.at_eof() else writer.close()
            return None

        server = await scripted(n, serve)
        text = b"A: b\r\n\r\n" + b"x" * 70 * 400_000 + b"\r\n"
        (outcome,) = await n.transport(data_timeout=5.0).deliver(*mail("a@far.test", text=text))
        assert str(outcome.reply) == "552 5.3.4 More than we want"
        server.close()

    net(test)


def test_what_is_said_before_tls_does_not_count_under_it() -> None:
    async def test(n: Net) -> None:
        lines: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lines.append(b"connect")
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                lines.append(line[:4])
                if line.startswith(b"EHLO"):
                    writer.write(b"250-x\r\n250 STARTTLS\r\n")
                elif line.startswith(b"STARTTLS"):
                    writer.write(b"220 go\r\n250-x\r\n")
                elif line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 ok\r\n")
                else:
                    writer.write(b"250 ok\r\n")

        server = await scripted(n, serve)
        assert fates(await n.transport().deliver(*mail("a@far.test"))) == ["relayed"]
        assert lines[:6] == [b"connect", b"EHLO", b"STAR", b"connect", b"EHLO", b"MAIL"]
        server.close()

    net(test)


def test_large_message_takes_no_memory(tmp_path: Path) -> None:
    async def test(n: Net) -> None:
        received = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal received
            writer.write(b"220 x\r\n")
            while line := await reader.readline():
                writer.write(b"354 go\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
                while line.startswith(b"DATA") and (block := await reader.read(65_536)):
                    received += len(block)
                    if block.endswith(b"\r\n.\r\n"):
                        writer.write(b"250 ok\r\n")
                        break

        server = await scripted(n, serve)
        path = tmp_path / "text"
        path.write_bytes(b"A: b\r\n\r\n" + (b"x" * 70 + b"\r\n") * 500_000)
        with path.open("rb") as file:
            text = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        message, to = mail("a@far.test")
        message.chunks = lambda: [text]  # type: ignore[method-assign]
        tracemalloc.start()
        (outcome,) = await n.transport(data_timeout=10.0, command_timeout=10.0).deliver(message, to)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert outcome.fate.value == "relayed"
        assert received == len(text) + 3
        print(f"{len(text) / 1e6:.0f} MB sent with {peak / 1e6:.1f} MB of memory")
        assert peak < 4_000_000
        server.close()

    net(test)
