from __future__ import annotations

from postane.core.envelope import Notify, Recipient
from postane.quarantine import release
from postane.quarantine.items import SENT
from support.quarantine import make_item

TEXT = b"Received: a\r\nX-Spam: Yes\r\nSubject: x\r\n\r\nX-Spam: body\r\n" + b"x" * 100_000


def test_one_line_on_top_and_no_mark() -> None:
    body = release.body(memoryview(TEXT), "ali", 1_700_000_000)
    octets = body.bytes()
    head = b"X-Postane-Released: Tue, 14 Nov 2023 22:13:20 -0000; by=ali\r\n"
    assert octets == head + TEXT.replace(b"X-Spam: Yes\r\n", b"")
    assert body.size == len(octets)
    assert b"".join(bytes(chunk) for chunk in body.chunks()) == octets


def test_who_released_it_cannot_make_a_field() -> None:
    octets = release.body(memoryview(TEXT), "ali\r\nX-Bad: 1; by=çiğdem", 0).bytes()
    assert octets.split(b"\r\n")[0].endswith(b"; by=aliX-Bad:1by=idem")
    assert release.body(memoryview(b"\r\nbody"), "", 0).bytes().endswith(b"; by=unknown\r\n\r\nbody")


def test_nobody_is_told_what_becomes_of_it() -> None:
    item = make_item(7, smtputf8=True, body_8bit=True)
    envelope = release.envelope(item, "N" * 26, [Recipient("ayse@demo.test")], 5.0)
    assert envelope.recipients == (Recipient("ayse@demo.test", "ayse@demo.test", "local", (Notify.NEVER,)),)
    assert (envelope.id, envelope.sender, envelope.tenant, envelope.received_at) == ("N" * 26, "x@far.test", "demo", 5)
    assert (envelope.smtputf8, envelope.body_8bit, envelope.extra[SENT]) == (True, True, "7")


def test_another_host_hears_the_mailbox_as_the_sender() -> None:
    envelope = release.envelope(make_item(7), "N" * 26, [Recipient("x@away.test", kind="remote")], 5.0)
    assert envelope.sender == "ayse@demo.test"
    assert envelope.recipients[0].kind == "remote"
