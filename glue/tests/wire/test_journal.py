"""Copies to a journal over the wire: by a domain's policy, with the envelope, once, and never heard of by a sender."""

from __future__ import annotations

import email
import smtplib
import ssl
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from postane.admin import policy
from postane.admin.policy import Scope
from postane.admin.site import Site
from postane.config.load import load
from postane.config.model import Dns
from postane.core.envelope import Notify
from postane.filters.base import Tools
from postane.filters.builtin.journal import Journal, Options
from support.dev import Dev
from support.filtered import Session
from support.wire import Line, Wire


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder: Path = tmp_path_factory.mktemp("journal")
    (folder / "filters.yml").write_text("filters: {use: []}\n")
    server = Dev(folder / "dev", workers=1, more=[f"--filters-file={folder / 'filters.yml'}"])
    server.start()
    site, demo = Site(load(folder / "dev" / "postane.yml")), Scope.parse("domain:demo.test")
    policy.set_key(site, demo, "filters.options.journal.to", ["user2@demo.test", "gone@demo.test"])
    policy.set_key(site, demo, "filters.use", ["journal"])
    time.sleep(0.4)
    yield server
    server.close()


def mails(dev: Dev, name: str, subject: str, wanted: int = 1) -> list[Message]:
    """Those with this subject, once there are so many; a moment later there are no more."""
    folder = dev.folder / "vmail" / "demo.test" / name / "Maildir" / "new"
    end = time.monotonic() + 20
    while True:
        read = [email.message_from_bytes(path.read_bytes()) for path in folder.glob("*")]
        found = [mail for mail in read if mail["Subject"] == subject]
        if len(found) >= wanted or time.monotonic() > end:
            return found
        time.sleep(0.05)


def come(dev: Dev, text: bytes, *to: str, sender: str = "bob@far.test") -> None:
    session = Session(dev)
    assert session(f"MAIL FROM:<{sender}>").startswith("250")
    for name in to:
        assert session(f"RCPT TO:<{name}@demo.test>").startswith("250")
    session("DATA")
    assert session(text.decode() + "\r\n.").startswith("250")
    session.close()


def test_what_comes_is_copied_with_its_envelope(dev: Dev) -> None:
    come(dev, b"From: bob@far.test\r\nTo: user0@demo.test\r\nSubject: in\r\n\r\nbody", "user0", "user1")
    (copy,) = mails(dev, "user2", "in")
    assert copy["X-Postane-Envelope-From"] == "<bob@far.test>"
    assert copy["X-Postane-Envelope-To"].split() == ["<user0@demo.test>,", "<user1@demo.test>"]
    assert str(copy.get_payload()).strip() == "body"
    (own,) = mails(dev, "user0", "in")
    assert [name for name in own if name.startswith("X-Postane")] == []


def test_what_comes_back_is_not_copied_again(dev: Dev) -> None:
    come(dev, b"From: bob@far.test\r\nMessage-ID: <1@far.test>\r\nSubject: round\r\n\r\nbody", "user0")
    (copy,) = mails(dev, "user2", "round")
    come(dev, copy.as_bytes().replace(b"\n", b"\r\n").rstrip(), "user1", sender="archive@far.test")
    assert len(mails(dev, "user1", "round")) == 1
    come(dev, b"From: bob@far.test\r\nSubject: last\r\n\r\nbody", "user0")
    assert len(mails(dev, "user2", "last")) == 1
    assert len(mails(dev, "user2", "round")) == 1


def test_what_leaves_is_copied(dev: Dev) -> None:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=trust)
        client.login("user0@demo.test", "password-user0")
        client.sendmail("user0@demo.test", ["bob@nowhere.invalid"], "From: user0@demo.test\r\nSubject: out\r\n\r\nbody")
    (copy,) = mails(dev, "user2", "out")
    assert copy["X-Postane-Envelope-To"] == "<bob@nowhere.invalid>"


def test_nobody_hears_what_becomes_of_a_copy(tmp_path: Path) -> None:
    tools = Tools("mx.test", Dns(), time.time, state=tmp_path)
    service = Wire(tmp_path, filters=(Journal(Options(to=("archive@far.test", "mehmet@demo.test")), tools),))
    line = Line(service)
    line("MAIL FROM:<bob@far.test>")
    line("RCPT TO:<ayse@demo.test> NOTIFY=SUCCESS,FAILURE")
    line("DATA")
    line.send(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    assert line.read().startswith("250")
    line.close()
    own, copy = (one.envelope for one in service.mail())
    assert (own.sender, own.recipients[0].address) == ("bob@far.test", "ayse@demo.test")
    assert copy.sender == ""
    assert [(one.address, one.kind, one.notify) for one in copy.recipients] == [
        ("archive@far.test", "remote", (Notify.NEVER,)),
        ("mehmet@demo.test", "local", (Notify.NEVER,)),
    ]
    service.close()
