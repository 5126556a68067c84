"""The filter disclaimer: whose mail gets the text, and which is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.verdict import ACCEPT, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.disclaimer import Disclaimer, Options
from support.text import Text

MAIL = b"From: ayse@demo.test\r\nSubject: x\r\n\r\nbody\r\n"
OUR = Peer(Service.SUBMISSION, "203.0.113.9", 1, login="ayse@demo.test", own=True)
HOST = Peer(Service.SMTP, "127.0.0.1", 1, own=True)
AWAY = Recipient("bob@far.test", kind="remote")
HERE = Recipient("mehmet@demo.test")


def data(
    peer: Peer = OUR,
    text: bytes = MAIL,
    sender: str = "ayse@demo.test",
    to: tuple[Recipient, ...] = (AWAY,),
    **more: Any,
) -> Verdict:
    judge = Disclaimer(msgspec.convert({"text": "Gizli", **more}, Options), Tools("mx.test", Dns(), lambda: 0.0))
    envelope = Envelope("1", sender, to, 0.0, login=peer.login)
    return asyncio.run(judge.data(peer, envelope, Text(text, 1000)))


def test_a_person_who_writes_away_says_the_text() -> None:
    for to in ((AWAY,), (HERE, AWAY)):
        around = data(to=to).wrap
        assert around is not None
        assert around[0].startswith(b"From: ayse@demo.test\r\nSubject: x\r\nMIME-Version: 1.0\r\n")
        assert b"R2l6bGk=" in around[1]
    assert data().wrap != data().wrap  # a boundary of its own


@pytest.mark.parametrize(
    "given",
    [
        {"peer": HOST},  # Sieve forwards what others wrote
        {"sender": ""},
        {"to": (HERE,)},
        {"text": b"Subject: no end of the header\r\n"},
        {"text": b"\r\nno header"},
        {"text": b"Subject: x\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\nbody"},
    ],
)
def test_who_does_not(given: Any) -> None:
    assert data(**given) == ACCEPT


def test_a_domain_without_a_text() -> None:
    judge = Disclaimer(Options(), Tools("mx.test", Dns(), lambda: 0.0))
    envelope = Envelope("1", "ayse@demo.test", (AWAY,), 0.0, login="ayse@demo.test")
    assert asyncio.run(judge.data(OUR, envelope, Text(MAIL))) == ACCEPT


def test_mail_within_the_house_only_if_wanted() -> None:
    judge = Disclaimer(Options(text="x", to="everybody"), Tools("mx.test", Dns(), lambda: 0.0))
    envelope = Envelope("1", "ayse@demo.test", (HERE,), 0.0, login="ayse@demo.test")
    assert asyncio.run(judge.data(OUR, envelope, Text(MAIL))).wrap is not None


def test_what_is_signed_is_left_alone_and_why_is_said() -> None:
    verdict = data(text=b"Content-Type: multipart/signed\r\n" + MAIL)
    assert verdict.wrap is None
    assert verdict.why == "disclaimer: not added: it has a part of the type multipart/signed"


@pytest.mark.parametrize("options", [{"text": "x" * 10_001}, {"text": "x", "to": "nobody"}])
def test_bad_options(options: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Options)
