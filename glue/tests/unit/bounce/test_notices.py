from __future__ import annotations

import asyncio

import pytest

from postane.bounce.notices import DsnNotices
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import CorruptSpoolError, TemporaryError
from postane.core.outcome import Action, Fate, Outcome
from postane.core.ports import Mailbox, Notice, Resolved
from postane.core.reply import Reply
from support.queue import Mail, any_mailbox

TO = Recipient("bob@far.test", "bob@far.test", "remote")
ABOUT = [(TO, Outcome("bob@far.test", Fate.FAILED, Reply(550, "5.1.1", "No"), "mx"))]


def notices(resolved: Resolved | Exception) -> DsnNotices:
    async def resolve(address: Address) -> Resolved:
        if isinstance(resolved, Exception):
            raise resolved
        return resolved

    return DsnNotices("mail.demo.test", resolve, any_mailbox, lambda: 1.8e9)


def make(resolved: Resolved | Exception, sender: str = "ayse@demo.test", damaged: bool = False) -> Notice | None:
    message = Mail(Envelope("1" * 26, sender, (TO,), 1.7e9, tenant="t"))
    if damaged:
        message.failure = CorruptSpoolError("bad sum")
    return asyncio.run(notices(resolved).make(Action.FAILED, message, ABOUT, new_id="2" * 26, until=1.9e9))


def test_goes_to_the_senders_mailbox_with_the_null_sender() -> None:
    notice = make(Resolved(True, (Recipient("ayse@demo.test", "ayse@demo.test"),), "demo"))
    assert notice is not None
    envelope = notice.envelope
    assert (envelope.id, envelope.sender, envelope.tenant) == ("2" * 26, "", "demo")
    assert envelope.recipients == (Recipient("ayse@demo.test", "ayse@demo.test", "local", (Notify.NEVER,)),)
    assert b"To: <ayse@demo.test>" in notice.body.bytes()


def test_sender_away_gets_it_by_smtp() -> None:
    notice = make(Resolved(False), "x@away.test")
    assert notice is not None
    assert notice.envelope.recipients[0].kind == "remote"
    assert notice.envelope.tenant == "t"


@pytest.mark.parametrize("sender", ["gone@demo.test", "no address"])
def test_nobody_there_is_no_notice(sender: str) -> None:
    assert make(Resolved(True), sender) is None


def test_directory_away_is_temporary() -> None:
    with pytest.raises(TemporaryError):
        make(TemporaryError("away"))


def test_damaged_original_still_tells_of_the_failure() -> None:
    notice = make(Resolved(False), damaged=True)
    assert notice is not None
    assert b"Action: failed" in notice.body.bytes()


@pytest.mark.parametrize(
    ("action", "notify", "owed"),
    [
        (Action.FAILED, (), True),
        (Action.DELAYED, (), True),
        (Action.DELIVERED, (), False),
        (Action.RELAYED, (), False),
        (Action.FAILED, (Notify.NEVER,), False),
        (Action.FAILED, (Notify.SUCCESS,), False),
        (Action.FAILED, (Notify.FAILURE, Notify.DELAY), True),
        (Action.DELAYED, (Notify.FAILURE,), False),
        (Action.DELIVERED, (Notify.SUCCESS,), True),
        (Action.RELAYED, (Notify.SUCCESS,), True),
    ],
)
def test_notify_is_honoured(action: Action, notify: tuple[Notify, ...], owed: bool) -> None:
    recipient = Recipient("bob@far.test", kind="remote", notify=notify)
    one = notices(Resolved(False))
    assert one.owed(action, Envelope("1" * 26, "a@b.test", (recipient,), 0.0), recipient) is owed
    assert not one.owed(action, Envelope("1" * 26, "", (recipient,), 0.0), recipient), "no bounce of a bounce"


@pytest.mark.parametrize("action", list(Action))
def test_who_sent_what_is_suspect_hears_nothing(action: Action) -> None:
    kept = Recipient("bob@demo.test", kind="quarantine", notify=(Notify.SUCCESS, Notify.FAILURE, Notify.DELAY))
    assert not notices(Resolved(True)).owed(action, Envelope("1" * 26, "ayse@demo.test", (kept,), 1.7e9), kept)


def test_who_has_got_the_senders_address_since_is_told_nothing() -> None:
    ayse = Recipient("ayse@demo.test", "ayse@demo.test", mailbox=2)

    async def resolve(address: Address) -> Resolved:
        return Resolved(True, (ayse,), "demo")

    def told(since: float) -> bool:
        async def find(address: str) -> Mailbox | None:
            return Mailbox(2, "", since)

        made = DsnNotices("mail.demo.test", resolve, find, lambda: 1.8e9)
        message = Mail(Envelope("1" * 26, "ayse@demo.test", (TO,), 1.7e9))
        return asyncio.run(made.make(Action.FAILED, message, ABOUT, new_id="2" * 26, until=1.9e9)) is not None

    assert told(1.7e9 - 1)
    assert not told(1.7e9 + 1)
