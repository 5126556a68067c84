"""The filter journal: what is copied, to whom, what the copy says, and that none is copied twice."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.journal import MARK, Journal, Options
from postane.filters.pipeline import Pipeline
from support.text import Text

OUR = Peer(Service.SUBMISSION, "203.0.113.9", 1, login="ayse@demo.test", own=True)
THEIRS = Peer(Service.SMTP, "192.0.2.1", 1)
MAIL = b"From: Ayse <ayse@demo.test>\r\nMessage-ID: <1@laptop.test>\r\nSubject: hello\r\n\r\nbody\r\n"
HERE = Recipient("mehmet@demo.test", "mehmet@demo.test")
AWAY = Recipient("bob@far.test", "bob@far.test", "remote")
SHOP = Recipient("till@shop.test", "till@shop.test")

ids = map(str, itertools.count())


def data(
    state: Path, peer: Peer, recipients: tuple[Recipient, ...], text: bytes = MAIL, sender: str = "", **options: Any
) -> Verdict:
    given = msgspec.convert({"to": ["archive@vault.test"], **options}, Options)
    judge = Journal(given, Tools("mx.test", Dns(), lambda: 0.0, state=state))
    sender = sender or peer.login or "bob@far.test"
    envelope = Envelope(next(ids), "" if sender == "<>" else sender, recipients, 0.0, login=peer.login)
    return asyncio.run(Pipeline([judge]).data(peer, envelope, Text(text)))


@pytest.mark.parametrize(
    ("peer", "to", "domains", "copied"),
    [
        (THEIRS, HERE, [], {"in", "both"}),
        (OUR, AWAY, [], {"out", "both"}),
        (OUR, HERE, [], {"in", "out", "both"}),
        (THEIRS, HERE, ["demo.test"], {"in", "both"}),
        (THEIRS, HERE, ["shop.test"], set()),
        (OUR, AWAY, ["Demo.Test"], {"out", "both"}),
        (OUR, AWAY, ["shop.test"], set()),
        (OUR, SHOP, ["shop.test"], {"in", "both"}),
        (OUR, SHOP, ["demo.test"], {"out", "both"}),
        (Peer(Service.SMTP, "127.0.0.1", 1, own=True), AWAY, ["demo.test"], set()),
        (Peer(Service.SMTP, "127.0.0.1", 1, own=True), AWAY, ["far.test"], {"out", "both"}),
    ],
)
def test_directions(tmp_path: Path, peer: Peer, to: Recipient, domains: list[str], copied: set[str]) -> None:
    for direction in ("in", "out", "both"):
        verdict = data(tmp_path, peer, (to,), direction=direction, domains=domains)
        assert verdict.copies == (("archive@vault.test",) if direction in copied else ()), direction
        assert verdict.decision is Decision.ACCEPT
        assert verdict.headers == ()


def test_a_copy_tells_the_envelope(tmp_path: Path) -> None:
    verdict = data(tmp_path, OUR, (HERE, AWAY), to=["archive@vault.test", "audit@demo.test"])
    assert verdict.copies == ("archive@vault.test", "audit@demo.test")
    one, two, sender, to = verdict.copy_headers
    assert one[0] == two[0] == MARK
    assert one != two
    assert sender == ("X-Postane-Envelope-From", "<ayse@demo.test>")
    assert to == ("X-Postane-Envelope-To", "<mehmet@demo.test>,\r\n\t<bob@far.test>")


def copy_of(verdict: Verdict, text: bytes = MAIL) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in verdict.copy_headers) + text


@pytest.mark.parametrize("padding", [0, 300_000])
def test_what_comes_back_is_not_copied_again(tmp_path: Path, padding: int) -> None:
    text = MAIL + b"a line of text\r\n" * (padding // 16)
    copy = copy_of(data(tmp_path, THEIRS, (HERE,), text), text)
    returned = b"Received: from vault.test\r\nX-Spam: No\r\n" + copy + b"\r\n"
    assert data(tmp_path, THEIRS, (HERE,), returned, sender="archive@vault.test") == ACCEPT
    # Another journal has not seen it.
    assert data(tmp_path, THEIRS, (HERE,), returned, to=["audit@demo.test"]).copies == ("audit@demo.test",)


@pytest.mark.parametrize(
    "change",
    [
        lambda copy: copy.replace(b"body", b"other body"),
        lambda copy: copy.replace(b"<1@laptop.test>", b"<2@laptop.test>"),
        lambda copy: copy.replace(MARK.encode() + b": v1.", MARK.encode() + b": v1.0"),
        lambda copy: b"X-Postane-Copy: yes\r\n" + MAIL,
    ],
)
def test_nobody_escapes_by_a_mark_from_elsewhere(tmp_path: Path, change: Any) -> None:
    copy = copy_of(data(tmp_path, THEIRS, (HERE,)))
    assert data(tmp_path, THEIRS, (HERE,), change(copy)).copies == ("archive@vault.test",)


def test_who_has_it_already_needs_no_copy(tmp_path: Path) -> None:
    archive = Recipient("account@vault.test", "Archive@vault.test")
    assert data(tmp_path, OUR, (HERE, archive)) == ACCEPT
    assert data(tmp_path, OUR, (HERE, archive), to=["archive@vault.test", "b@c.test"]).copies == ("b@c.test",)


def test_without_a_journal_there_are_no_copies(tmp_path: Path) -> None:
    assert data(tmp_path, OUR, (HERE, AWAY), to=[]) == ACCEPT


def test_the_null_sender(tmp_path: Path) -> None:
    assert data(tmp_path, THEIRS, (HERE,), sender="<>") == ACCEPT
    assert data(tmp_path, THEIRS, (HERE,), sender="<>", null_sender=True).copies


@pytest.mark.parametrize(("policy", "code"), [("defer", "451"), ("reject", "554"), ("skip", "")])
def test_what_cannot_be_marked_is_for_the_failure_policy(tmp_path: Path, policy: str, code: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "journal.key").write_bytes(b"short")
    verdict = data(tmp_path, THEIRS, (HERE,), on_failure=policy)
    assert (str(verdict.reply)[:3] if verdict.reply else "") == code


@pytest.mark.parametrize("options", [{"to": ["nobody"]}, {"to": "a@b.test"}, {"domains": ["a b"]}])
def test_bad_options(options: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, Options)
