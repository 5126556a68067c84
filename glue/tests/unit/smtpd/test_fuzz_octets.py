"""Any octets in any packets: no exception leaves a dialogue, memory stays bounded, and afterwards it is in step.

POSTANE_FUZZ_SECONDS sets how long (for hours: another seed each time), POSTANE_FUZZ_SEED the seed.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from random import Random
from zlib import crc32

import postane.smtpd
from postane.config.model import Limits
from postane.core.peer import Service
from postane.core.reply import Reply
from postane.smtpd import events
from postane.smtpd.dialogue import Dialogue, Facts
from support.fuzz import fuzz

SECONDS = float(os.environ.get("POSTANE_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("POSTANE_FUZZ_SEED", "1" if SECONDS <= 3 else str(time.time_ns() % 2**32)))

LIMITS = Limits(
    recipients=4, errors=6, unknown_recipients=4, logins=3, message_size=500, command_line=200, text_line=100,
    transactions=4, idle_commands=10,
)  # fmt: skip
NORMALIZING = Limits(
    recipients=4, errors=6, unknown_recipients=4, logins=3, message_size=500, command_line=200, text_line=100,
    transactions=4, idle_commands=10, bare_newline="normalize",
)  # fmt: skip

WORDS = [
    b"\r\n", b"\n", b"\r", b"\0", b".", b"\r\n.\r\n", b"\n.\n", b" ", b"<", b">", b"@", b":", b'"', b"\\", b"\xff",
    b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@x.test>", b"MAIL FROM:<>\r\n", b"RCPT TO:<b@y.test>\r\n", b"DATA\r\n",
    b"BDAT 5\r\n", b"BDAT 5 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT 99999999999 LAST\r\n", b"BDAT x\r\n", b"RSET\r\n",
    b"NOOP\r\n", b"QUIT\r\n", b"VRFY x\r\n", b"HELP\r\n", b"STARTTLS\r\n", b"AUTH PLAIN ", b"AUTH PLAIN\r\n",
    b"AUTH LOGIN\r\n", b"AGEAcmlnaHQ=\r\n", b"YQ==\r\n", b"*\r\n", b" SIZE=10", b" BODY=8BITMIME", b" BODY=BINARYMIME",
    b" SMTPUTF8", b" RET=HDRS", b" ENVID=a+2B", b" AUTH=<>", b" NOTIFY=NEVER", b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;a@b", b"[127.0.0.1]", b"[IPv6:::1]", b"xn--", "ş".encode(), b"@r.test:", b"Postmaster", b"x" * 90,
    b"GET / HTTP/1.1\r\n",
]  # fmt: skip

_MAIL = b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
SEEDS = [
    _MAIL + b"DATA\r\n|Subject: x\r\n\r\n..dot\r\n.\r\nRSET\r\nQUIT\r\n",
    _MAIL + b"BDAT 5\r\nabc\r\nBDAT 4 LAST\r\n.\r\n\rNOOP\r\n",
    b"EHLO x\r\nSTARTTLS\r\n|EHLO y\r\nAUTH PLAIN\r\n|AGEAcmlnaHQ=\r\n" + _MAIL,
    b"EHLO x\r\nAUTH LOGIN\r\nYQ==\r\ncmlnaHQ=\r\nMAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME RET=FULL ENVID=q\r\n",
    "EHLO x\r\nMAIL FROM:<ş@x.test> SMTPUTF8\r\nRCPT TO:<b@y.test> NOTIFY=NEVER ORCPT=rfc822;b@y\r\n".encode(),
    b'MAIL FROM:<"a b"@x.test>\r\nRCPT TO:<@r.test:b@y.test>\r\nRCPT TO:<Postmaster>\r\nRCPT TO:<a@[127.0.0.1]>\r\n',
    b"x" * 300 + b"\r\nNOOP\n",
]


class Talk:
    """A dialogue whose handler says yes and no by the letters of the question, the same each time."""

    def __init__(self, limits: Limits, service: Service) -> None:
        self.dialogue = Dialogue(Facts("mx.test", service, tls_offered=True), limits)
        self.texts: list[bytes] = []
        self._kept: list[bytes] = []
        self._run()

    def say(self, packet: bytes) -> bytes:
        self.dialogue.receive(packet)
        return self._run()

    def _run(self) -> bytes:
        dialogue = self.dialogue
        while (event := dialogue.next()) is not None:
            match event:
                case events.StartTls():
                    dialogue.secured()
                case events.Reset():
                    pass
                case events.Connected():
                    dialogue.answer(Reply(220, "", "mx.test"))
                case events.Data():
                    self._kept = []
                    reply = self._answer("data" * dialogue.recipients)
                    dialogue.answer(reply, self._kept.append if reply.ok else None)
                case events.Text():
                    if not event.fault:
                        self.texts.append(b"".join(self._kept))
                        assert event.size == len(self.texts[-1])
                    dialogue.answer(Reply(550, "5.6.0", "no") if event.fault else self._answer("text"))
                case _:
                    dialogue.answer(self._answer(repr(event)))
        return dialogue.take_output()

    def _answer(self, question: str) -> Reply:
        match crc32(question.encode("utf-8", "surrogatepass")) % 16:
            case 0:
                return Reply(550, "5.1.1", "No")
            case 1:
                return Reply(451, "4.3.0", "Later")
            case 2 if question.startswith("Mail"):
                return Reply(421, "4.3.2", "Down")
            case _:
                return Reply(250, "2.0.0", "Yes\nand more")


_REPLIES = re.compile(rb"(?:[2-5][0-9]{2}[ -][^\r\n\0]*\r\n)*")
_AHEAD = b"554 5.5.0 You talked ahead"


def check(octets: bytes) -> None:
    """`|` parts the packets; the first octet chooses door and limits."""
    kind = octets[0] if octets else 0
    service = (Service.SMTP, Service.SUBMISSION)[kind & 1]
    limits = (LIMITS, NORMALIZING)[kind >> 1 & 1]
    packets = octets.split(b"|")
    whole = Talk(limits, service)
    heard = b""
    for packet in packets:
        heard += whole.say(packet)
        assert len(whole.dialogue._buffer) <= 12_288
    assert _REPLIES.fullmatch(heard), heard
    for text in whole.texts:
        rest = text.replace(b"\r\n", b"")
        assert b"\n" not in rest
        assert b"\r" not in rest
        assert b"\0" not in rest
        assert len(text) <= limits.message_size
    random = Random(crc32(octets))
    cut = Talk(limits, service)
    said = b""
    for packet in packets:
        at = 0
        while at < len(packet):
            to = at + random.choice((1, 2, 3, 10, 100))
            said += cut.say(packet[at:to])
            at = to
    if _AHEAD not in heard + said:  # what stands behind DATA in its packet is a matter of packets
        assert said == heard
        assert cut.texts == whole.texts
        assert cut.dialogue.closed == whole.dialogue.closed
    in_step(whole)


def in_step(talk: Talk) -> None:
    """Whatever went before: once the text, chunk or line at hand is over, NOOP is answered as NOOP."""
    dialogue = talk.dialogue
    if dialogue.closed:
        assert talk.say(b"NOOP\r\n") == b""
        return
    for _ in range(6):  # the end of a line may begin a text, a chunk or a login
        if dialogue._read is Dialogue._more_chunk:
            talk.say(b"x" * dialogue._chunk_left)
        elif dialogue.reads_text:
            talk.say(b"\r\n.\r\n")
        elif dialogue._buffer or dialogue._read is Dialogue._swallow:
            talk.say(b"\r\n")
        elif dialogue._read is Dialogue._login_line:
            talk.say(b"*\r\n")
    if not dialogue.closed:
        assert re.fullmatch(rb"250 2\.0\.0 OK\r\n(?:421 .*\r\n)?", talk.say(b"NOOP\r\n"))


def test_octets() -> None:
    here = Path(postane.smtpd.__file__).parent
    files = [here / "dialogue.py", here / "command.py", here / "text.py", here.parent / "core" / "address.py"]
    seeds = [b"%c%b" % (kind, seed) for seed in SEEDS for kind in b"@ABC"]
    done = fuzz(check, seeds, words=[*WORDS, b"|"], files=files, seconds=SECONDS, seed=SEED)
    print(f"\n{done} (seed {SEED})")
