"""Allow and block lists over the wire: what a peer hears, what proof brings, and each recipient's own entries."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.admin import alias, policy, senders
from postane.admin.policy import Scope
from postane.admin.site import Site
from postane.config.load import load
from postane.config.model import Dns
from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import Decision, Verdict
from postane.filters.base import Filter, Options, Tools
from postane.filters.builtin.lists import Lists
from postane.filters.builtin.lists import Options as ListOptions
from support.dev import Dev
from support.filtered import Session, mailbox
from support.signing import MESSAGE, Zone, by_dkimpy, record, rsa_key
from support.wire import Line, Wire

LATER = Verdict(Decision.DEFER, "unknown", Reply(451, "4.7.1", "Come again"), opinion=True)
SPAM = Verdict(Decision.REJECT, "spam", Reply(554, "5.7.1", "Spam"), opinion=True)


class Grumpy(Filter[Options]):
    """Thinks ill of everybody: at RCPT of those who are not signed, and of every text."""

    name = "grumpy"

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return LATER if sender.endswith("@spf.example") else Verdict()

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return SPAM


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    zone = Zone(
        {
            "rsa._domainkey.example.org": [record(rsa_key())],
            "spf.example": ["v=spf1 ip4:127.0.0.7 -all"],
            "_dmarc.strict.example": ["v=DMARC1; p=reject"],
            "_dmarc.easy.example": ["v=DMARC1; p=none"],
        }
    )
    tools = Tools("mx.test", Dns(), time.time, lambda: zone.ask)
    options = ListOptions(allow=("ayse@example.org", "spf.example", "127.0.0.8"), block=(".enemy.example", "127.0.0.9"))
    service = Wire(tmp_path_factory.mktemp("wire"), filters=(Lists(options, tools), Grumpy(Options(), tools)))
    yield service
    service.close()


def dialogue(wire: Wire, sender: str, text: bytes = MESSAGE, source: str = "127.0.0.1") -> str:
    """The first answer that is no yes, or the one to the text."""
    line = Line(wire, source=source)
    line(f"MAIL FROM:<{sender}>")
    said = line("RCPT TO:<ayse@demo.test>")
    if said.startswith("250"):
        line("DATA")
        line.send(text + b".\r\n")
        said = line.read()
    line.close()
    return said[:9] if not said.startswith("250") else "250"


def of(domain: str) -> bytes:
    """The message with an author of another domain."""
    return MESSAGE.replace(b"example.org>", domain.encode() + b">")


@pytest.mark.parametrize(
    ("sender", "text", "source", "said"),
    [
        ("x@other.example", MESSAGE, "127.0.0.1", "554 5.7.1"),
        # Blocked: by the peer's address, its sender, or From.
        ("x@other.example", MESSAGE, "127.0.0.9", "550 5.7.1"),
        ("x@mail.enemy.example", MESSAGE, "127.0.0.1", "550 5.7.1"),
        ("x@other.example", MESSAGE.replace(b"example.org>", b"enemy.example>"), "127.0.0.1", "550 5.7.1"),
        # Allowed: by its address, a signature, SPF; a name alone is none.
        ("x@other.example", MESSAGE, "127.0.0.8", "250"),
        ("bounce@other.example", by_dkimpy(MESSAGE), "127.0.0.1", "250"),
        ("ayse@example.org", MESSAGE, "127.0.0.1", "554 5.7.1"),
        ("x@spf.example", MESSAGE, "127.0.0.7", "250"),
        ("x@spf.example", MESSAGE, "127.0.0.1", "451 4.7.1"),
        # Allowed by SPF, and From shows another: as far as that one's domain has nothing against it.
        ("x@spf.example", of("easy.example"), "127.0.0.7", "250"),
        ("x@spf.example", of("strict.example"), "127.0.0.7", "554 5.7.1"),
        ("x@spf.example", MESSAGE.replace(b"From:", b"From: a@b.example\r\nFrom:"), "127.0.0.7", "554 5.7.1"),
    ],
)
def test_what_a_sender_hears(wire: Wire, sender: str, text: bytes, source: str, said: str) -> None:
    assert dialogue(wire, sender, text, source) == said


# -- each recipient's own ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder: Path = tmp_path_factory.mktemp("lists")
    (folder / "filters.yml").write_text("filters: {use: [lists], options: {lists: {block: [far.test]}}}\n")
    server = Dev(folder / "dev", workers=1, more=[f"--filters-file={folder / 'filters.yml'}"])
    server.start()
    site = Site(load(folder / "dev" / "postane.yml"))
    senders.put(site, Scope.parse("user0@demo.test"), "allow", ["far.test"])
    policy.set_key(site, Scope.parse("user0@demo.test"), "filters.options.lists.allow_needs", "none")
    senders.put(site, Scope.parse("domain:demo.test"), "block", ["near.test"])
    senders.only(site, Scope.parse("user2@demo.test"), ["domain"])
    alias.put(site, "all@demo.test", ["user0@demo.test", "user1@demo.test"])
    senders.only(site, Scope.parse("all@demo.test"), ["members"])
    time.sleep(0.4)
    yield server
    server.close()


def heard(dev: Dev, sender: str) -> list[str]:
    """The answers to RCPT for user0, user1 and user2."""
    session = Session(dev)
    session(f"MAIL FROM:<{sender}>")
    said = [session(f"RCPT TO:<user{number}@demo.test>")[:3] for number in range(3)]
    session.close()
    return said


def test_the_nearest_level_decides_for_each_recipient(dev: Dev) -> None:
    assert heard(dev, "a@far.test") == ["250", "550", "550"]
    assert heard(dev, "a@near.test") == ["550", "550", "550"]
    assert heard(dev, "a@other.test") == ["250", "250", "550"]
    session = Session(dev)
    assert session.mail("a@far.test", b"From: a@far.test\r\nSubject: x\r\n\r\n")[1].startswith("250")
    assert b"Subject: x" in mailbox(dev, 1)[0]


def test_an_alias_has_its_own_circle(dev: Dev) -> None:
    session = Session(dev)
    assert session.mail("a@other.test", to="all@demo.test")[1].startswith("550 5.7.1 Only some may write")
    assert session.mail("a@other.test", to="all+x@demo.test")[1].startswith("550 5.7.1 Only some may write")


def test_who_says_to_be_of_the_domain_needs_a_login(dev: Dev) -> None:
    session = Session(dev)
    said = session.mail("user1@demo.test", b"From: user1@demo.test\r\n\r\n", to="user2@demo.test")
    assert said == ("text", "550 5.7.1 Only some may write to this address, and who you are is not proven (SPF, DKIM)")
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=trust)
        client.login("user1@demo.test", "password-user1")
        text = "From: user1@demo.test\r\nSubject: inside\r\n\r\n"
        # Their own lists are no matter of where our users write to.
        assert client.sendmail("user1@demo.test", ["user2@demo.test", "all@demo.test"], text) == {}
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=trust)
        client.login("user2@demo.test", "password-user2")
        assert client.sendmail("user2@demo.test", ["bob@nowhere.invalid"], text.replace("user1", "user2")) == {}
