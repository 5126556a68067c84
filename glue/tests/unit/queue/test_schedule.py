from __future__ import annotations

from random import Random

import pytest

from postane.config.model import Queue
from postane.core.envelope import Envelope
from postane.core.outcome import Outcome
from postane.core.reply import Reply
from postane.queue.schedule import Kind, Schedule, kind_of

PLAIN = Schedule(Queue(retry_jitter=0.0), Random(1))


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "remote", "kind"),
    [
        (451, "4.4.1", "mx[1.2.3.4]: Connection refused", "", Kind.UNREACHABLE),
        (451, "4.4.3", "DNS: no answer", "", Kind.UNREACHABLE),
        (451, "4.4.1", "my relay is down", "mx.example", Kind.OTHER),
        (421, "4.7.0", "Try again later", "mx.example", Kind.BUSY),
        (450, "4.7.1", "Too many connections", "mx.example", Kind.BUSY),
        (421, "4.3.2", "shutting down", "mx.example", Kind.BUSY),
        (451, "4.7.1", "Greylisted for 300 seconds", "mx.example", Kind.GREYLISTED),
        (450, "", "Recipient greylisted", "mx.example", Kind.GREYLISTED),
        (452, "4.5.3", "Enough", "mx.example", Kind.RECIPIENTS),
        (452, "", "Too many recipients", "mx.example", Kind.RECIPIENTS),
        (452, "4.3.1", "No space for recipients", "mx.example", Kind.OTHER),
        (452, "4.2.2", "Mailbox full", "mx.example", Kind.MAILBOX),
        (451, "4.3.0", "Temporary failure", "mx.example", Kind.OTHER),
    ],
)
def test_kind_is_read_from_the_reply(code: int, enhanced: str, text: str, remote: str, kind: Kind) -> None:
    assert kind_of(Outcome.from_reply("a@b.test", Reply(code, enhanced, text), remote)) is kind


def test_waits_grow_to_the_longest() -> None:
    waits = [PLAIN.wait(n) for n in range(1, 12)]
    assert waits[0] == 300
    assert waits[1] == 540
    assert waits == sorted(waits)
    assert waits[-1] == 4 * 3600
    assert PLAIN.wait(100_000) == 4 * 3600


def test_local_mail_is_tried_sooner() -> None:
    assert [PLAIN.wait(n, local=True) for n in (1, 2, 50)] == [5, 9, 300]


def test_kinds_bend_the_schedule() -> None:
    assert PLAIN.wait(1, Kind.MAILBOX) == 1200
    assert PLAIN.wait(20, Kind.GREYLISTED) == 900
    assert PLAIN.wait(1, Kind.GREYLISTED) == 300
    assert PLAIN.wait(1, Kind.BUSY) == 60
    assert PLAIN.wait(20, Kind.BUSY) == 1800


def test_jitter_stays_within_its_share_and_spreads() -> None:
    schedule = Schedule(Queue(retry_jitter=0.2), Random(7))
    waits = {schedule.wait(1) for _ in range(200)}
    assert all(240 <= wait <= 360 for wait in waits)
    assert len(waits) > 100


def test_null_sender_expires_sooner() -> None:
    mail = Envelope("0" * 26, "a@b.test", (), 1000.0)
    bounce = Envelope("0" * 26, "", (), 1000.0)
    assert PLAIN.expires_at(mail) == 1000 + 5 * 86400
    assert PLAIN.expires_at(bounce) == 1000 + 86400
    assert PLAIN.warns_at(mail) == 1000 + 4 * 3600
