"""Tokens of what was sent from here: known again in any form of a report, for its days, for its sender alone."""

from __future__ import annotations

import base64
import quopri
import time

import pytest

from postane.core.address import Address
from postane.filters.returned.origin import HEADER, Origin

NOW = 1_800_000_000.0
DAY = 86_400
SENDER = Address.parse("ayse@demo.test")
ORIGIN = Origin(b"k" * 32, 7)
TOKEN = ORIGIN.token(SENDER, NOW)
LINE = f"{HEADER}: {TOKEN}\r\n".encode()


def encoded(text: bytes) -> bytes:
    return b"--x\r\nContent-Transfer-Encoding: BASE64\r\nContent-Type: text/plain\r\n\r\n" + base64.encodebytes(
        text
    ).replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "text",
    [
        LINE,
        b"Subject: x\r\n" + LINE + b"\r\nbody",
        b"> > " + LINE,
        LINE.replace(b": ", b":\r\n\t"),
        quopri.encodestring(b"Diagnose: \xc3\xbc" + b" " * 30 + LINE),
        encoded(b"The message:\r\n\r\n" + LINE) + b"\r\n--x--\r\n",
        b"".join(b"v1.20833.00000000.%024x\r\n" % at for at in range(20)) + LINE,
    ],
)
def test_a_token_is_found(text: bytes) -> None:
    assert len(LINE) < 80
    assert ORIGIN.proves(text, SENDER, NOW)
    assert not ORIGIN.proves(text, Address.parse("mehmet@demo.test"), NOW)
    assert not Origin(b"K" * 32, 7).proves(text, SENDER, NOW)


def test_each_message_has_its_own_and_each_spelling_of_the_sender_the_same() -> None:
    assert ORIGIN.token(SENDER, NOW) != TOKEN
    assert ORIGIN.proves(LINE, Address.parse("AYSE@Demo.Test"), NOW)


@pytest.mark.parametrize(("days", "good"), [(-2, False), (-1, True), (0, True), (7, True), (8, False)])
def test_a_token_has_its_days(days: int, good: bool) -> None:
    assert ORIGIN.proves(LINE, SENDER, NOW + days * DAY) is good


@pytest.mark.parametrize(
    "text",
    [
        b"",
        LINE[:-3] + b"\r\n",
        LINE.replace(b"v1.", b"v2."),
        LINE.replace(b".208", b".209"),
        TOKEN[:-1].encode() + b"g",
    ],
)
def test_what_is_none(text: bytes) -> None:
    assert not ORIGIN.proves(text, SENDER, NOW)


def test_hostile_texts_cost_little() -> None:
    begun = time.process_time()
    for text in (
        b"content-transfer-encoding: base64\r\n" * 8_000,
        b"content-transfer-encoding: base64\r\n\r\n" * 8_000,
        b"v1.20833.00000000.000000000000000000000000\r\n" * 6_000,
        b"=\r\n" * 90_000,
        b"v1." * 90_000,
    ):
        assert not ORIGIN.proves(text, SENDER, NOW)
    assert time.process_time() - begun < 1.0
