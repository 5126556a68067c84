"""The filter spf at the door of a real service, with a real name server behind it."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator

import dns.rcode
import pytest

from postane.config.model import Dns
from postane.core.peer import Service
from postane.dns.shared import shared
from postane.filters.base import Tools
from postane.filters.builtin.spf import Options, Spf
from support.dns import NameServer
from support.wire import Line, Wire


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    server = NameServer()
    server.add("good.test", "TXT", '"v=spf1 ip4:127.0.0.0/8 -all"')
    server.add("bad.test", "TXT", '"v=spf1 ip4:192.0.2.1 -all exp=why.bad.test"')
    server.add("why.bad.test", "TXT", '"%{i} is a stranger"')
    server.add("soft.test", "TXT", '"v=spf1 ~all"')
    server.add("client.test", "TXT", '"v=spf1 a ~all"')
    server.add("client.test", "A", "127.0.0.1")
    server.faults["down.test"] = dns.rcode.SERVFAIL
    server.faults["silent.test"] = None
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    settings = Dns(nameservers=(asyncio.run_coroutine_threadsafe(server.start(), loop).result(5),), timeout=5)
    options = Options(fail="reject", temperror="defer", seconds=0.3, trusted_peers=("127.0.0.9/32",))
    judge = Spf(options, Tools("mx.test", settings, lambda: 1_700_000_000.0, shared(settings)))
    wire = Wire(tmp_path_factory.mktemp("spf"), filters=(judge,))
    yield wire
    wire.close()
    loop.call_soon_threadsafe(server.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def sent(wire: Wire, sender: str, source: str = "127.0.0.1") -> str:
    """The first reply that is no yes, or the headers of the message as it was kept."""
    line = Line(wire, source=source)
    try:
        for command in (f"MAIL FROM:<{sender}>", "RCPT TO:<ayse@demo.test>", "DATA"):
            reply = line(command)
            if reply[0] not in "23":
                return reply
        assert line("Subject: x\r\n\r\nHello\r\n.").startswith("250")
    finally:
        line.close()
    (message,) = wire.mail()
    return message.read().decode()


def test_a_fail_is_refused_before_any_text(served: Wire) -> None:
    assert sent(served, "a@bad.test") == (
        "550-5.7.23 SPF: bad.test does not let this client send for it\n"
        "550 5.7.23 bad.test explains: 127.0.0.1 is a stranger"
    )
    assert sent(served, "a@down.test").startswith("451 4.7.24 ")
    assert sent(served, "a@silent.test").startswith("451 4.7.24 ")


@pytest.mark.parametrize(
    ("sender", "result"),
    [("a@good.test", "pass"), ("a@soft.test", "softfail"), ("a@none.test", "none"), ("", "pass")],
)
def test_what_is_taken_says_what_was_found(served: Wire, sender: str, result: str) -> None:
    text = sent(served, sender)
    assert f"Received-SPF: {result} (mx.test: domain of " in text
    assert f'envelope-from="{sender}";' in text
    assert text.index("Received-SPF: ") < text.index("Subject: x")


def test_who_is_not_checked(served: Wire) -> None:
    assert "Received-SPF" not in sent(served, "a@bad.test", "127.0.0.9")
    line = Line(served, Service.SUBMISSION)
    line.starttls()
    assert line("AUTH PLAIN " + base64.b64encode(b"\0ayse@demo.test\0right").decode()).startswith("235")
    for command in ("MAIL FROM:<ayse@demo.test>", "RCPT TO:<b@far.test>", "DATA", "Subject: x\r\n\r\nHello\r\n."):
        assert line(command)[0] in "23"
    line.close()
    (message,) = served.mail()
    assert b"Received-SPF" not in message.read()
