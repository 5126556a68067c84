"""Limits of rate by two real workers, over real connections."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.dev import Dev
from support.filtered import Session, figures

TEXT = b"Subject: x\r\n\r\nbody\r\n"
SETTINGS = {
    "filters": {
        "use": ["rates"],
        "options": {
            "rates": {
                "peer": [
                    {"counts": "connections", "rate": 12},
                    {"counts": "messages", "rate": 5},
                    {"counts": "unknown_recipients", "rate": 2},
                    {"counts": "octets", "rate": 10_000},
                ],
                "net": [{"counts": "connections", "rate": 1, "mode": "watch"}],
                "account": [{"counts": "recipients", "rate": 3}],
                "trusted_peers": ["127.0.0.9/32"],
            }
        },
    }
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder: Path = tmp_path_factory.mktemp("rates")
    file = folder / "filters.yml"
    file.write_text(yaml.safe_dump(SETTINGS))
    server = Dev(folder / "dev", workers=2, accounts=2, more=[f"--filters-file={file}"])
    server.start()
    yield server
    server.close()


def test_messages_over_all_workers(dev: Dev) -> None:
    answers: Counter[tuple[str, str]] = Counter()
    for _ in range(9):
        session = Session(dev, "127.0.0.2")
        where, said = session.mail("a@far.test", TEXT)
        answers[where, said[:3]] += 1
        session.close()
    assert answers == {("text", "250"): 5, ("mail", "451"): 4}
    assert said == "451 4.7.1 Too many messages from 127.0.0.2; try again in 12 minutes"
    for _ in range(6):
        session = Session(dev, "127.0.0.9")
        assert session.mail("a@far.test", TEXT)[1].startswith("250")
        session.close()


def test_connections(dev: Dev) -> None:
    sessions = [Session(dev, "127.0.0.3") for _ in range(12)]
    with pytest.raises(AssertionError, match="ended after"):  # its EHLO has no answer
        sessions.append(Session(dev, "127.0.0.3"))
    for session in sessions:
        session.close()
    refused = Refused(dev, "127.0.0.3")
    assert refused.greeting == "421 4.7.1 Too many connections from 127.0.0.3; try again in 5 minutes"
    end = time.monotonic() + 10  # they are written down every two seconds
    passed: dict[tuple[str, ...], float] = {}
    while not {("peer", "enforce"), ("net", "watch")} <= set(passed) and time.monotonic() < end:
        time.sleep(0.1)
        passed = figures(dev, "postane_filter_rates_exceeded", "whose", "mode")
    assert {("peer", "enforce"), ("net", "watch")} <= set(passed)


class Refused(Session):
    """Reads the greeting alone."""

    def __call__(self, line: str) -> str:
        return ""


def test_strangers(dev: Dev) -> None:
    session = Session(dev, "127.0.0.4")
    assert session("MAIL FROM:<a@far.test>").startswith("250")
    answers = [session(f"RCPT TO:<nobody{number}@demo.test>") for number in range(3)]
    assert [answer[:9] for answer in answers] == ["550 5.1.1", "550 5.1.1", "450 4.7.1"]
    assert session("RCPT TO:<user0@demo.test>") == answers[2]
    assert session("RCPT TO:<a@elsewhere.test>").startswith("554 5.7.1")
    session.close()


def test_octets(dev: Dev) -> None:
    session = Session(dev, "127.0.0.5")
    assert session.mail("a@far.test", TEXT, b"x" * 900 + b"\r\n", b"y" * 8000 + b"\r\n")[1].startswith("250")
    where, said = session.mail("a@far.test", TEXT, b"x" * 1500 + b"\r\n")
    assert (where, said[:40]) == ("text", "451 4.7.1 Too many octets from 127.0.0.5")
    session.close()


def test_an_account(dev: Dev) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=context)
        client.login("user0@demo.test", "password-user0")
        client.sendmail("user0@demo.test", ["a@far.test", "b@far.test"], TEXT)
        refused = client.sendmail("user0@demo.test", ["c@far.test", "d@far.test"], TEXT)
        assert list(refused) == ["d@far.test"]
        code, words = refused["d@far.test"]
        said = b"4.7.1 The limit of your account is reached: 3 recipients in 60 minutes; try again in 20 minutes"
        assert (code, words) == (450, said)
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=context)
        client.login("user1@demo.test", "password-user1")
        client.sendmail("user1@demo.test", ["a@far.test"], TEXT)
