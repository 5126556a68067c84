"""The filters helo and iprev at the door of a real service: refused at their place, and not refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.config.model import Dns
from postane.filters.base import Tools
from postane.filters.builtin.helo import HeloName
from postane.filters.builtin.helo import Options as HeloOptions
from postane.filters.builtin.iprev import Iprev
from postane.filters.builtin.iprev import Options as IprevOptions
from support.wire import Line, Wire
from support.zone import Zone

ZONE = """
1.0.0.127.in-addr.arpa PTR client.test
client.test A 127.0.0.1
2.0.0.127.in-addr.arpa PTR client.test
3.0.0.127.in-addr.arpa FAIL
"""


def served(folder: Path, *, at_once: bool) -> Wire:
    zone = Zone(ZONE)
    tools = Tools("mx.test", Dns(), lambda: 0.0, lambda: zone.ask)
    filters = (
        Iprev(IprevOptions(fail="reject", temperror="defer", trusted_peers=(), at_once=at_once), tools),
        HeloName(HeloOptions(trusted_peers=(), at_once=at_once), tools),
    )
    return Wire(folder, filters=filters)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = served(tmp_path_factory.mktemp("names"), at_once=True)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = served(tmp_path_factory.mktemp("patient"), at_once=False)
    yield wire
    wire.close()


@pytest.mark.parametrize(
    ("source", "helo", "reply"),
    [
        ("127.0.0.1", "client.test", "250 "),
        ("127.0.0.2", "client.test", "550 5.7.25 Reverse DNS: client.test does not lead back to 127.0.0.2"),
        ("127.0.0.3", "client.test", "450 4.7.25 Reverse DNS: SERVFAIL"),
        ("127.0.0.1", "a..b", "550 5.7.1 HELO: "),
    ],
)
def test_what_is_not_said_at_once_is_said_to_each_recipient(patient: Wire, source: str, helo: str, reply: str) -> None:
    line = Line(patient, hello=False, source=source)
    assert line.greeting.startswith("220 ")
    assert line(f"EHLO {helo}").startswith("250")
    assert line("MAIL FROM:<a@x.test>").startswith("250 ")
    assert line("RCPT TO:<ayse@demo.test>").startswith(reply)
    assert line("RCPT TO:<postmaster@mx.test>").startswith("250 ")  # who can be reached whatever is thought
    line.close()


@pytest.mark.parametrize(
    ("source", "greeting"),
    [
        ("127.0.0.1", "220 "),
        ("127.0.0.2", "554 5.7.25 Reverse DNS: client.test does not lead back to 127.0.0.2"),
        ("127.0.0.3", "421 4.7.25 Reverse DNS: SERVFAIL"),
        ("127.0.0.4", "220 "),
    ],
)
def test_iprev_speaks_instead_of_the_greeting(named: Wire, source: str, greeting: str) -> None:
    line = Line(named, hello=False, source=source)
    assert line.greeting.startswith(greeting)
    if not greeting.startswith("220"):
        assert line.read() == ""  # closed
    line.close()


@pytest.mark.parametrize(
    ("helo", "reply"),
    [
        ("client.test", "250 "),
        ("localhost", "250 "),
        ("[127.0.0.1]", "250 "),
        ("other.test", "250 "),
        ("a..b", "550 5.7.1 HELO: "),
    ],
)
def test_helo_speaks_after_mail(named: Wire, helo: str, reply: str) -> None:
    line = Line(named, hello=False)
    assert line(f"EHLO {helo}").startswith("250")
    assert line("MAIL FROM:<a@x.test>").startswith(reply)
    line.close()
