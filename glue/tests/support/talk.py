"""A dialogue without a network: what a service that says yes to everything makes of what it is fed."""

from __future__ import annotations

from collections.abc import Iterable

from postane.config.model import Limits
from postane.core.peer import Service
from postane.core.reply import Reply
from postane.smtpd import events
from postane.smtpd.dialogue import Dialogue, Facts

OK = Reply(250, "2.0.0", "OK")
PEOPLE = ("ayse@demo.test", "mehmet@demo.test")


class Yes:
    """Takes mail for PEOPLE. `texts` are the messages taken: (sender, text)."""

    def __init__(self, limits: Limits | None = None, service: Service = Service.SMTP, *, secure: bool = False) -> None:
        self.dialogue = Dialogue(
            Facts("mx.test", service, tls_offered=True), limits or Limits(message_size=200_000), secure=secure
        )
        self.texts: list[tuple[str, bytes]] = []
        self.asked: list[events.Event] = []
        self._kept: list[bytes] = []
        self.greeting = self._run()

    def say(self, *packets: bytes) -> bytes:
        """All that is answered to these packets, one after the other."""
        answered = [self._feed(packet) for packet in packets]
        return b"".join(answered)

    def codes(self, *packets: bytes) -> list[str]:
        return codes(self.say(*packets))

    def _feed(self, packet: bytes) -> bytes:
        self.dialogue.receive(packet)
        return self._run()

    def _run(self) -> bytes:
        dialogue = self.dialogue
        while (event := dialogue.next()) is not None:
            self.asked.append(event)
            match event:
                case events.StartTls():
                    dialogue.secured()
                case events.Reset():
                    pass
                case events.Connected():
                    dialogue.answer(Reply(220, "", "mx.test"))
                case events.Rcpt():
                    known = event.command.recipient.key in PEOPLE
                    dialogue.answer(OK if known else Reply(550, "5.1.1", "No such mailbox here"))
                case events.Data():
                    self._kept = []
                    dialogue.answer(OK, self._kept.append)
                case events.Text():
                    dialogue.answer(self._taken(event))
                case events.Login():
                    good = event.password == "right"
                    dialogue.answer(Reply(235, "2.7.0", "yes") if good else Reply(535, "5.7.8", "no"))
                case _:
                    dialogue.answer(OK)
        return dialogue.take_output()

    def _taken(self, event: events.Text) -> Reply:
        if event.fault:
            # Of two faults the one is told that came first, block by block: the packets have a say in it.
            return Reply(550, "5.6.0", "The text cannot be taken")
        assert self.dialogue.mail is not None
        self.texts.append((str(self.dialogue.mail.sender or ""), b"".join(self._kept)))
        return OK


def codes(said: bytes) -> list[str]:
    """The codes of whole replies."""
    return [line[:3].decode() for line in said.split(b"\r\n") if line[3:4] == b" "]


def cut(wire: bytes, places: Iterable[int]) -> list[bytes]:
    """The octets in packets that end at these places."""
    packets, at = [], 0
    for place in [*sorted(places), len(wire)]:
        if place > at:
            packets.append(wire[at:place])
            at = place
    return packets
