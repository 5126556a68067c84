"""No text, no chunk and no group of commands gets a second message past the service: every look-alike of an end,
at every cut, by DATA and by BDAT, on real connections and octet by octet."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
import uvloop

from postane.config.model import Delivery, Dns, Limits
from postane.core.peer import Service
from postane.delivery.lmtp import LmtpTransport
from postane.delivery.mx import OwnHost
from postane.delivery.smtp import SmtpTransport
from postane.dns.resolver import Resolver
from support.peers import Peer, at_once
from support.smuggle import END, Variant, smuggled, variants
from support.talk import Yes, codes, cut
from support.wire import Wire

VARIANTS = list(variants())
ENVELOPE = b"MAIL FROM:<%s>\r\nRCPT TO:<ayse@demo.test>\r\n"


@pytest.fixture(scope="module")
def normalizing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    service = Wire(tmp_path_factory.mktemp("wire"), Limits(message_size=200_000, bare_newline="normalize"))
    yield service
    service.close()


def texts(wire: Wire) -> dict[str, bytes]:
    """What lies in the spool by sender; no sender has two messages, and none is an impostor."""
    mails = wire.mail()
    by_sender = Counter(mail.envelope.sender for mail in mails)
    assert not [sender for sender in by_sender if sender.startswith("evil")]
    assert set(by_sender.values()) <= {1}
    return {mail.envelope.sender: mail.read().split(b"+0000\r\n", 1)[1] for mail in mails}


def test_there_are_enough_of_them() -> None:
    assert len(VARIANTS) >= 2000
    assert sum(bool(v.refusals) for v in VARIANTS) > 1000
    assert sum(not v.refusals for v in VARIANTS) > 200


def test_every_cut_of_every_text() -> None:
    """Octet for octet: one final reply for the one text, whatever the packets, and the session is in step after it."""
    for variant in VARIANTS:
        head = ENVELOPE % variant.sender.encode() + b"DATA\r\n"
        good = not variant.refusals
        at = variant.cuts()
        for places in ([], *([place] for place in at[:: 1 + variant.number % 3]), range(at.start, at.stop)):
            talk = Yes()
            assert talk.codes(b"EHLO c.test\r\n", head) == ["250", "250", "250", "354"]
            said = talk.codes(*cut(variant.wire, places), b"NOOP\r\n")
            assert said == ["250" if good else "550", "250"], (variant, places)
            assert talk.texts == ([(variant.sender, variant.text)] if good else []), (variant, places)


@pytest.mark.parametrize("kind", ["reject", "normalize"])
def test_texts_on_the_wire(request: pytest.FixtureRequest, kind: str) -> None:
    wire: Wire = request.getfixturevalue("wire" if kind == "reject" else "normalizing")
    wire.mail()

    def wanted(variant: Variant) -> tuple[str, ...]:
        if kind == "reject":
            return variant.refusals
        return tuple(refusal for refusal in variant.refusals if refusal != "550 5.6.11")

    async def talk(variant: Variant) -> None:
        peer = await Peer.greeted(wire.ports[Service.SMTP])
        await peer.send(b"EHLO c.test\r\n" + ENVELOPE % variant.sender.encode() + b"DATA\r\n")
        assert await peer.codes(4) == ["250", "250", "250", "354"]
        places = variant.cuts()
        final = await peer.ask(*cut(variant.wire, [places[variant.number % len(places)]]))
        assert final.startswith(wanted(variant) or "250 2.0.0"), (variant, final)
        assert await peer.in_step(), variant
        peer.close()

    chosen = VARIANTS if kind == "reject" else VARIANTS[::4]
    asyncio.run(at_once(talk, chosen))
    good = {v.sender: v.text if kind == "reject" else v.normal for v in chosen if not wanted(v)}
    assert texts(wire) == good


def test_chunks_on_the_wire(wire: Wire) -> None:
    """The same by BDAT: counted octets have no end inside, in one chunk or two, cut where the false end lies."""
    wire.mail()
    chosen = VARIANTS[::3]

    async def talk(variant: Variant) -> None:
        peer = await Peer.greeted(wire.ports[Service.SMTP])
        await peer.send(b"EHLO c.test\r\n" + ENVELOPE % variant.sender.encode())
        assert await peer.codes(3) == ["250", "250", "250"]
        places = variant.cuts()
        chunks = cut(variant.wire, [places[variant.number % len(places)]])
        group = b"".join(b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in chunks) + b"BDAT 0 LAST\r\n"
        await peer.send(*cut(group, [variant.number % len(group)]))
        assert await peer.codes(len(chunks)) == ["250"] * len(chunks)
        bare = re.search(rb"\r(?!\n)|(?<!\r)\n", variant.wire)
        wanted = ("550 5.6.11",) * bool(bare) + ("550 5.6.0",) * (b"\0" in variant.wire)
        final = await peer.read()
        assert final.startswith(wanted or "250 2.0.0"), (variant, final)
        assert await peer.in_step(), variant
        peer.close()

    asyncio.run(at_once(talk, chosen))
    assert all(text.endswith(END) for text in texts(wire).values())


EVIL = smuggled(0) + END
EVIL_BDAT = smuggled(1)
V = ENVELOPE % b"v@far.test"

# (packets after EHLO, codes of the replies to each; "x": then it has closed, else it answers NOOP as NOOP)
DIALOGUES: dict[str, tuple[list[bytes], str]] = {
    # What is behind DATA in its packet is no command, whatever became of DATA (RFC 2920 section 3.1).
    "text behind DATA": ([V + b"DATA\r\n" + EVIL], "250 250 554 x"),
    "text behind DATA without MAIL": ([b"DATA\r\n" + EVIL], "554 x"),
    "text behind DATA without a recipient": ([b"MAIL FROM:<v@far.test>\r\nDATA\r\n" + EVIL], "250 554 x"),
    "text behind DATA with an argument": ([V + b"DATA x\r\n" + EVIL], "250 250 554 x"),
    "RCPT behind DATA": ([V + b"DATA\r\nRCPT TO:<mehmet@demo.test>\r\n"], "250 250 554 x"),
    "DATA twice": ([V + b"DATA\r\nDATA\r\n"], "250 250 554 x"),
    "NOOP in the text": ([V + b"DATA\r\n", b"NOOP\r\nRSET\r\nQUIT\r\n.\r\n"], "250 250 354 | 250"),
    "commands behind the text": ([V + b"DATA\r\n", b"a\r\n.\r\nRSET\r\nNOOP\r\n"], "250 250 354 | 250 250 250"),
    "a dot alone": ([V + b"DATA\r\n", b".\r\n", b".\r\n"], "250 250 354 | 250 | 500"),
    "an end cut in five": ([V + b"DATA\r\n", b"a\r", b"\n", b".", b"\r", b"\n"], "250 250 354 ||||| 250"),
    "a dot line without its CR": ([V + b"DATA\r\n", b"a\r\n.\n" + EVIL_BDAT + END], "250 250 354 | 550"),
    # Lines of commands.
    "LF between commands": ([b"NOOP\n" + V], "500 x"),
    "LF in a command": ([b"MAIL FROM:<v@far.test>\nRCPT TO:<ayse@demo.test>\nDATA\r\n"], "500 x"),
    "CR in a command": ([b"NOOP\rMAIL FROM:<evil@far.test>\r\n"], "500 x"),
    "NUL in a command": ([b"NOOP\0\r\nMAIL FROM:<evil@far.test>\r\n"], "500 x"),
    "NUL in an address": ([b"MAIL FROM:<evil\0@far.test>\r\n"], "500 x"),
    "CR CRLF": ([b"NOOP\r\r\n" + V], "500 x"),
    "an address with a command": ([b'MAIL FROM:<"\nRSET"@far.test>\r\n'], "500 x"),
    "an endless line with commands": ([b"x" * 9000, EVIL.replace(b"\r\n", b"\n"), b"\r\n"], "||500"),
    "an endless line with a CR at the cut": ([b"x" * 4097 + b"\r", b"\nNOOP\r\n"], "| 500 250"),
    "a web browser": ([b"POST / HTTP/1.1\r\nHost: mx.test\r\n\r\n" + V + EVIL], "500 x"),
    "a verb in other letters": (["MAıL FROM:<evil@far.test>\r\nRſET\r\n".encode()], "500 500"),
    # BDAT: refused, its octets are swallowed all the same; without a size nobody knows where commands begin.
    "BDAT without MAIL": ([b"BDAT %d LAST\r\n" % len(EVIL_BDAT) + EVIL_BDAT], "503"),
    "BDAT without a recipient": (
        [b"MAIL FROM:<v@far.test>\r\nBDAT %d LAST\r\n" % len(EVIL_BDAT) + EVIL_BDAT],
        "250 503",
    ),
    "BDAT with a refused recipient": (
        [b"MAIL FROM:<v@far.test>\r\nRCPT TO:<x@demo.test>\r\nBDAT %d LAST\r\n" % len(EVIL_BDAT) + EVIL_BDAT],
        "250 550 503",
    ),
    "BDAT cut in its octets": (
        [b"BDAT %d LAST\r\n" % len(EVIL) + EVIL[:9], EVIL[9:30], EVIL[30:]],
        "|| 503",
    ),
    "BDAT without a size": ([V + b"BDAT\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with a word for a size": ([V + b"BDAT x LAST\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with a negative size": ([V + b"BDAT -5\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with a signed size": ([V + b"BDAT +5\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with a tab": ([V + b"BDAT 5\tLAST\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with other digits": ([V + "BDAT ٥ LAST\r\n".encode() + EVIL_BDAT], "250 250 501 x"),
    "BDAT with a size in hex": ([V + b"BDAT 0x5 LAST\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT with two sizes": ([V + b"BDAT 5 5\r\n" + EVIL_BDAT], "250 250 501 x"),
    "BDAT of a size beyond all reading": ([V + b"BDAT 999999999999\r\n" + EVIL], "250 250 552 x"),
    "BDAT of a size beyond counting": ([V + b"BDAT 9999999999999\r\n" + EVIL], "250 250 501 x"),
    "BDAT too large": (
        [V + b"BDAT 300000 LAST\r\n", EVIL * 1000, b"\r\n" * (150000 - 500 * len(EVIL))],
        "250 250 || 552",
    ),
    "BDAT one octet short": ([V + b"BDAT 4\r\na\r\nb\nBDAT 0 LAST\r\n" + EVIL_BDAT], "250 250 250 500 x"),
    "BDAT two octets short": ([V + b"BDAT 3\r\na\r\nb\r\nBDAT 0 LAST\r\n"], "250 250 250 500 250"),
    "BDAT one octet long": ([V + b"BDAT 7 LAST\r\na\r\nb\r\nNOOP\r\n"], "250 250 250 500"),
    "BDAT 0": ([V + b"BDAT 0\r\nBDAT 0\r\nBDAT 0 LAST\r\n"], "250 250 250 250 250"),
    "BDAT 0 LAST alone": ([V + b"BDAT 0 LAST\r\n"], "250 250 250"),
    "BDAT 0 LAST twice": ([V + b"BDAT 0 LAST\r\nBDAT 0 LAST\r\n"], "250 250 250 503"),
    "DATA in the middle of BDAT": (
        [V + b"BDAT 3\r\na\r\n", b"DATA\r\n", b"BDAT 0 LAST\r\n"],
        "250 250 250 | 503 | 250",
    ),
    "text behind DATA in the middle of BDAT": ([V + b"BDAT 3\r\na\r\nDATA\r\n" + EVIL], "250 250 250 554 x"),
    "MAIL in the middle of BDAT": ([V + b"BDAT 3\r\na\r\n" + V + b"BDAT 0 LAST\r\n"], "250 250 250 503 503 250"),
    "RSET in the middle of BDAT": ([V + b"BDAT 3\r\na\r\nRSET\r\nBDAT 4 LAST\r\nb\r\n\r"], "250 250 250 250 503"),
    "EHLO in the middle of BDAT": ([V + b"BDAT 3\r\na\r\nEHLO x\r\nBDAT 3 LAST\r\nb\r\n"], "250 250 250 250 503"),
    "BDAT behind DATA": ([V + b"DATA\r\nBDAT %d LAST\r\n" % len(EVIL_BDAT) + EVIL_BDAT], "250 250 554 x"),
    "BDAT in the text": ([V + b"DATA\r\n", b"BDAT 5 LAST\r\n" + EVIL_BDAT + END], "250 250 354 | 250"),
    "an end across chunks": ([V + b"BDAT 4\r\na\r\n.BDAT 2\r\n\r\nBDAT 0 LAST\r\n"], "250 250 250 250 250"),
    "a CR at the end of all chunks": ([V + b"BDAT 2\r\na\rBDAT 0 LAST\r\n"], "250 250 250 550"),
    "a CRLF across chunks": ([V + b"BDAT 2\r\na\rBDAT 1\r\n\nBDAT 0 LAST\r\n"], "250 250 250 250 250"),
    # Before TLS.
    "commands behind STARTTLS": ([b"STARTTLS\r\n" + V], "554 x"),
    "EHLO behind STARTTLS": ([b"STARTTLS\r\nEHLO evil\r\n"], "554 x"),
    "half a command behind STARTTLS": ([b"STARTTLS\r\nR"], "554 x"),
    "STARTTLS in a group": ([b"NOOP\r\nSTARTTLS\r\nNOOP\r\n"], "250 554 x"),
    "STARTTLS with an argument": ([b"STARTTLS x\r\n"], "501"),
}  # fmt: skip


def test_dialogues(wire: Wire) -> None:
    wire.mail()

    async def talk(item: tuple[str, tuple[list[bytes], str]]) -> None:
        name, (packets, wanted) = item
        peer = await Peer.greeted(wire.ports[Service.SMTP])
        assert (await peer.ask(b"EHLO c.test\r\n")).startswith("250")
        for packet, expected in zip(packets, wanted.removesuffix(" x").split("|"), strict=True):
            await peer.send(packet)
            assert await peer.codes(len(expected.split())) == expected.split(), name
        if wanted.endswith("x"):
            assert await peer.read() == "", name
        else:
            assert await peer.in_step(), name
        peer.close()

    asyncio.run(at_once(talk, DIALOGUES.items()))
    assert not [mail for mail in wire.mail() if mail.envelope.sender != "v@far.test"]
    end = time.monotonic() + 10
    while wire.sessions.open:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert wire.spool._coming == 0  # no draft was forgotten


def test_dialogues_in_other_packets() -> None:
    """The same octets cut anywhere: no second message, and the session is in step or closed."""
    for name, (packets, _) in DIALOGUES.items():
        wire = b"".join(packets)[:400]
        for place in range(1, len(wire)):
            if wire[:place].upper().endswith(b"DATA\r\n"):
                continue  # what comes in a packet of its own, after the reply to DATA, is what the peer wants to say
            talk = Yes()
            talk.say(b"EHLO c.test\r\n", wire[:place], wire[place:])
            assert not any(sender.startswith("evil") for sender, _ in talk.texts), (name, place)
            if not talk.dialogue.closed and not talk.dialogue.reads_text:
                assert codes(talk.say(b"\r\nNOOP\r\n"))[-1] in ("250", "500"), (name, place)


def test_talking_before_the_greeting(wire: Wire) -> None:
    """Octets that are there when the peer is greeted were sent unread (RFC 5321 section 4.3.1)."""
    wire.mail()
    for number in range(5):
        with wire.held():  # busy with others
            early = socket.create_connection(("127.0.0.1", wire.ports[Service.SMTP]), 10)
            early.sendall(b"EHLO c.test\r\n" + ENVELOPE % b"evil%d@far.test" % number + b"BDAT 1 LAST\r\nx")
        with early:
            replies = b""
            with contextlib.suppress(ConnectionResetError):  # what it said was never read
                while octets := early.recv(1000):
                    replies += octets
        assert [line[:9] for line in replies.splitlines()] == [b"554 5.5.0"]
    assert wire.mail() == []


LENIENT_END = re.compile(rb"(?:\r\n|\n|\r)\.(?:\r\n|\n|\r)")


class NextHop:
    """Speaks SMTP and LMTP, and keeps each text as its octets came. It would end a text at any line end."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.commands: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 next.test\r\n")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                line = await reader.readuntil(b"\r\n")
                self.commands.append(line[:4])
                writer.write(b"354 go\r\n" if line == b"DATA\r\n" else b"250-next.test\r\n250 SIZE\r\n")
                if line == b"DATA\r\n":
                    text = b"\r\n"
                    while not text.endswith(END):
                        text += await reader.readuntil(b"\n")
                    self.texts.append(text[2:])
                    writer.write(b"250 2.0.0 kept\r\n")
        writer.close()


def test_what_was_taken_goes_out_as_one_message(normalizing: Wire) -> None:
    """Whatever next hop there is, however it reads line ends: it sees one text, with its end at the end."""
    normalizing.mail()

    async def put(variant: Variant) -> None:
        peer = await Peer.greeted(normalizing.ports[Service.SMTP])
        await peer.send(b"EHLO c.test\r\n" + ENVELOPE % variant.sender.encode() + b"DATA\r\n")
        assert await peer.codes(4) == ["250", "250", "250", "354"]
        assert (await peer.ask(variant.wire)).startswith("250"), variant
        peer.close()

    chosen = [v for v in VARIANTS[1::4] if b"\0" not in v.wire]
    assert len(chosen) > 300
    asyncio.run(at_once(put, chosen))
    mails = normalizing.mail()
    assert len(mails) == len(chosen)

    async def onward() -> NextHop:
        hop = NextHop()
        server = await asyncio.start_server(hop.serve, "127.0.0.1", 0, limit=1 << 20)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = Delivery(smarthost=address, lmtp=address)
        lookup = Resolver(Dns(nameservers=("127.0.0.1:9",), timeout=1))
        smtp = SmtpTransport(settings, "mx.test", lookup, OwnHost(set(), set()), Random(1))
        lmtp = LmtpTransport(settings, "mx.test")
        try:
            for mail in mails:
                for transport in (smtp, lmtp):
                    (outcome,) = await transport.deliver(mail, mail.envelope.recipients)
                    assert outcome.reply.ok, outcome
        finally:
            await smtp.close()
            await lmtp.close()
            server.close()
        return hop

    hop = uvloop.run(onward())
    assert len(hop.texts) == 2 * len(mails)
    assert set(hop.commands) <= {b"EHLO", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"QUIT"}
    for text in hop.texts:
        (end,) = LENIENT_END.finditer(b"\r\n" + text)
        assert end.end() == len(text) + 2
