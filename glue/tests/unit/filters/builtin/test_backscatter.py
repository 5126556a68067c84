"""The filter backscatter: a token on what leaves, and what comes of reports and answers with and without one."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import TemporaryError
from postane.core.peer import Peer, Service
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.backscatter import Backscatter, Options
from postane.filters.pipeline import Pipeline
from postane.filters.returned.origin import HEADER
from support.text import Text

OUR = Peer(Service.SUBMISSION, "203.0.113.9", 1, login="ayse@demo.test", own=True)
THEIRS = Peer(Service.SMTP, "192.0.2.1", 1)
MAIL = b"From: Ayse <ayse@demo.test>\r\nMessage-ID: <1@laptop.test>\r\nSubject: hello\r\n\r\nbody\r\n"
REPORT = b"From: MAILER-DAEMON@far.test\r\nContent-Type: multipart/report; report-type=delivery-status\r\n\r\n--x\r\n"
VACATION = b"From: bob@far.test\r\nAuto-Submitted: auto-replied\r\n"

ids = map(str, itertools.count())


class Memory:
    """A core.ports.Store of a dictionary; `away` makes it fail."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, float]] = {}
        self.away = False

    async def put(self, key: str, value: str, seconds: float) -> None:
        self._fail()
        self.kept[key] = (value, seconds)

    async def get(self, key: str) -> str | None:
        self._fail()
        return self.kept.get(key, (None, 0.0))[0]

    def _fail(self) -> None:
        if self.away:
            raise TemporaryError("the store is away")


class Case:
    def __init__(self, state: Path, **options: Any) -> None:
        self.memory = Memory()
        self.now = 1_800_000_000.0
        memory: Any = self.memory
        tools = Tools("mx.test", Dns(), lambda: self.now, state=state, store=lambda: memory)
        self.filter = Backscatter(msgspec.convert(options, Options), tools)

    def data(self, peer: Peer, sender: str, text: bytes, to: str = "ayse@demo.test") -> Verdict:
        envelope = Envelope(next(ids), sender, (Recipient("account@demo.test", to),), self.now)
        return asyncio.run(Pipeline([self.filter]).data(peer, envelope, Text(text)))

    def send(self, text: bytes = MAIL, sender: str = "ayse@demo.test") -> bytes:
        """The header field that it puts on top."""
        verdict = self.data(OUR, sender, text, "bob@far.test")
        assert verdict.decision is Decision.ACCEPT
        ((name, value),) = verdict.headers
        assert name == HEADER
        return f"{name}: {value}\r\n".encode()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_a_report_about_our_mail_comes_through(case: Case, tmp_path: Path) -> None:
    token = case.send()
    assert case.data(THEIRS, "", REPORT + token + MAIL) == ACCEPT
    assert case.data(THEIRS, "daemon@far.test", REPORT + token + MAIL).decision is Decision.ACCEPT
    case.now += 11 * 86_400
    assert case.data(THEIRS, "", REPORT + token).decision is Decision.QUARANTINE
    # Another worker has the same key.
    assert Case(tmp_path).data(THEIRS, "", REPORT + token + MAIL).decision is Decision.ACCEPT


@pytest.mark.parametrize("sender", ["", "daemon@far.test"])
@pytest.mark.parametrize("policy", ["quarantine", "reject", "mark", "accept"])
def test_a_report_about_what_was_never_sent(tmp_path: Path, sender: str, policy: str) -> None:
    case = Case(tmp_path, on_foreign=policy)
    verdict = case.data(THEIRS, sender, REPORT + MAIL.replace(b"<1@", b"<2@"))
    expected = {"quarantine": Decision.QUARANTINE, "reject": Decision.REJECT}.get(policy, Decision.ACCEPT)
    assert verdict.decision is expected
    assert not verdict.opinion
    assert (str(verdict.reply)[:9] if verdict.reply else "") == ("550 5.7.1" if policy == "reject" else "")
    assert bool(verdict.headers) is (policy in ("quarantine", "mark"))
    assert bool(verdict.score) is (policy in ("quarantine", "mark"))


def test_a_token_is_the_senders_own(case: Case) -> None:
    token = case.send()
    stolen = REPORT + token + MAIL.replace(b"<1@", b"<2@")
    assert case.data(THEIRS, "", stolen, to="mehmet@demo.test").decision is Decision.QUARANTINE
    alias = case.send(sender="info@demo.test")
    assert case.data(THEIRS, "", REPORT + alias, to="Info@demo.test").decision is Decision.ACCEPT


@pytest.mark.parametrize(
    "answer",
    [
        VACATION + b"In-Reply-To: <1@laptop.test>\r\n\r\nI am away\r\n",
        VACATION + b"References: <0@laptop.test> <1@laptop.test>\r\n\r\nI am away\r\n",
        b"From: bob@far.test\r\nContent-Type: multipart/report; report-type=disposition-notification\r\n\r\n"
        b"--x\r\n\r\nOriginal-Message-ID: <1@laptop.test>\r\n",
        REPORT + b"Message-ID: <1@laptop.test>\r\n",  # a report that left our token out
    ],
)
def test_an_answer_to_our_mail_comes_through_unmarked(tmp_path: Path, answer: bytes) -> None:
    case = Case(tmp_path, on_reply="reject", on_foreign="reject")
    assert case.data(THEIRS, "", answer).decision is Decision.REJECT
    case.send()
    assert case.memory.kept
    assert case.data(THEIRS, "", answer) == ACCEPT
    assert case.data(THEIRS, "", answer, to="mehmet@demo.test").decision is Decision.REJECT


def test_an_answer_goes_to_whom_the_message_was_from(case: Case) -> None:
    case.send(sender="info@demo.test")
    answer = VACATION + b"In-Reply-To: <1@laptop.test>\r\n\r\n"
    for to in ("info@demo.test", "ayse@demo.test"):
        assert case.data(THEIRS, "", answer, to=to).headers == ()


def test_an_answer_to_nothing_is_marked_and_no_more(case: Case) -> None:
    verdict = case.data(THEIRS, "", VACATION + b"In-Reply-To: <9@laptop.test>\r\n\r\n")
    assert verdict.decision is Decision.ACCEPT
    assert verdict.headers[0][0] == "X-Postane-Backscatter"


@pytest.mark.parametrize(
    ("peer", "sender", "to"),
    [
        (THEIRS, "bob@far.test", "ayse@demo.test"),
        (THEIRS, "", "postmaster@demo.test"),
        (THEIRS, "", "reports@demo.test"),
        (Peer(Service.SMTP, "127.0.0.1", 1), "", "ayse@demo.test"),
        (Peer(Service.SMTP, "127.0.0.1", 1, own=True), "", "ayse@demo.test"),
        (OUR, "", "ayse@demo.test"),
    ],
)
def test_who_is_not_asked(tmp_path: Path, peer: Peer, sender: str, to: str) -> None:
    case = Case(tmp_path, on_reply="reject", exempt=["postmaster", "reports@demo.test"])
    assert case.data(peer, sender, VACATION + b"\r\n", to) == ACCEPT


def test_the_memory_is_away(case: Case) -> None:
    case.memory.away = True
    token = case.send()
    assert case.data(THEIRS, "", REPORT + token).decision is Decision.ACCEPT
    verdict = case.data(THEIRS, "", VACATION + b"In-Reply-To: <1@laptop.test>\r\n\r\n")
    assert (verdict.decision, str(verdict.reply)[:3]) == (Decision.DEFER, "451")


def test_without_memory(tmp_path: Path) -> None:
    case = Case(tmp_path, remember=False)
    case.memory.away = True
    case.send()
    assert case.data(THEIRS, "", VACATION + b"In-Reply-To: <1@laptop.test>\r\n\r\n").headers


@pytest.mark.parametrize(("policy", "code"), [("defer", "451"), ("reject", "554"), ("skip", "")])
def test_a_lost_key_is_for_the_failure_policy(tmp_path: Path, policy: str, code: str) -> None:
    case = Case(tmp_path, on_failure=policy)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "origin.key").write_bytes(b"short")
    verdict = case.data(THEIRS, "", REPORT)
    assert (str(verdict.reply)[:3] if verdict.reply else "") == code


def test_only_the_beginning_of_a_report_is_searched(case: Case) -> None:
    token = case.send()
    far = REPORT + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 5_000
    assert case.data(THEIRS, "", far + token).decision is Decision.QUARANTINE


def test_bad_options() -> None:
    with pytest.raises(msgspec.ValidationError, match="host bits"):
        msgspec.convert({"trusted_peers": ["10.0.0.1/8"]}, Options)
