from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from postane.config.model import Quarantine
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import CorruptSpoolError, TemporaryError
from postane.core.outcome import Outcome
from postane.core.ports import Claimed
from postane.quarantine.items import SENT, Selection
from postane.quarantine.store import Store, _File
from postane.quarantine.transport import QuarantineTransport, Settling
from support.queue import Mail

TEXT = b"From: \xddpek <x@far.test>\r\nSubject: =?utf-8?B?xLDFnsSe?=\r\n\r\nhi\r\n"
EXTRA = {"quarantine": "Rspamd:\nscore 7.5", "score": "7.5", "filter": "rspamd"}


def mail(number: int, *mailboxes: str, extra: dict[str, str] | None = None) -> Mail:
    to = tuple(Recipient(one, one, "quarantine") for one in mailboxes or ("ayse@demo.test",))
    return Mail(
        Envelope(f"{number:026}", "x@far.test", to, 5.0, tenant="demo", extra=EXTRA if extra is None else extra), TEXT
    )


def deliver(store: Store, *mails: Mail, settings: Quarantine | None = None) -> list[list[Outcome]]:
    async def main() -> list[list[Outcome]]:
        transport = QuarantineTransport(store, settings or Quarantine())
        try:
            return await asyncio.gather(*(transport.deliver(one, one.envelope.recipients) for one in mails))
        finally:
            await transport.close()

    return asyncio.run(main())


def replies(outcomes: Sequence[Sequence[Outcome]]) -> list[str]:
    return [str(one.reply)[:9] for some in outcomes for one in some]


def test_each_mailbox_has_a_row_and_all_share_the_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "q")
    (outcomes,) = deliver(store, mail(1, "ayse@demo.test", "Info@DEMO.test"))
    assert [(o.recipient, o.fate.value, o.remote) for o in outcomes] == [
        ("ayse@demo.test", "delivered", "quarantine"),
        ("Info@DEMO.test", "delivered", "quarantine"),  # as the envelope has it
    ]
    one, two = store.index.choose(Selection())
    assert (one.mailbox, two.mailbox) == ("ayse@demo.test", "info@demo.test")
    assert (one.author, one.subject) == ("İpek <x@far.test>", "İŞĞ")
    assert (one.reason, one.score, one.filter) == ("Rspamd: score 7.5", 7.5, "rspamd")
    assert (one.sender, one.tenant, one.received_at, one.size) == ("x@far.test", "demo", 5.0, len(TEXT))
    assert bytes(store.text(one)) == TEXT
    assert len([path for path in tmp_path.rglob("*") if path.name == one.spool_id]) == 1


def test_nothing_said_is_nothing_known(tmp_path: Path) -> None:
    store = Store(tmp_path / "q")
    deliver(store, mail(1, extra={"score": "high"}))
    (item,) = store.index.choose(Selection())
    assert (item.reason, item.score, item.filter) == ("", 0.0, "")


def test_many_at_once_and_again_after_a_crash(tmp_path: Path) -> None:
    store = Store(tmp_path / "q")
    mails = [mail(number) for number in range(600)]
    assert set(replies(deliver(store, *mails))) == {"250 2.0.0"}
    store.close()
    again = Store(tmp_path / "q")
    assert set(replies(deliver(again, *mails))) == {"250 2.0.0"}
    assert again.index.count(Selection()) == 600


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "452 4.3.1"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "452 4.3.1"),
        (OSError(errno.EIO, "Input/output error"), "451 4.3.0"),
    ],
)
def test_a_disk_that_fails_makes_mail_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reply: str
) -> None:
    store = Store(tmp_path / "q")
    write = store._write

    def broken(file: _File) -> None:
        if file.path.name.endswith("1"):
            raise error
        write(file)

    monkeypatch.setattr(store, "_write", broken)
    assert replies(deliver(store, mail(1), mail(2))) == [reply, "250 2.0.0"]
    monkeypatch.undo()
    assert replies(deliver(store, mail(1))) == ["250 2.0.0"]


def test_a_disk_that_is_nearly_full_and_an_index_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replies(deliver(Store(tmp_path / "q", reserve=1 << 62), mail(1), mail(2))) == ["452 4.3.1", "452 4.3.1"]
    store = Store(tmp_path / "q")

    def full(*_: object, **__: object) -> set[str]:
        raise TemporaryError("database or disk is full")

    monkeypatch.setattr(store.index, "add", full)
    assert replies(deliver(store, mail(1))) == ["452 4.3.1"]


def test_what_is_damaged_is_told_to_the_queue(tmp_path: Path) -> None:
    broken = mail(1)
    broken.failure = CorruptSpoolError("does not check out")
    with pytest.raises(CorruptSpoolError):
        deliver(Store(tmp_path / "q"), broken)


def test_the_texts_of_what_gave_way_are_gone(tmp_path: Path) -> None:
    store = Store(tmp_path / "q")
    for number in range(4):
        deliver(store, mail(number), settings=Quarantine(mailbox_messages=2))
    assert [item.spool_id[-1] for item in store.index.choose(Selection())] == ["2", "3"]
    assert [store.path(f"{number:026}").exists() for number in range(4)] == [False, False, True, True]


def test_what_quarantine_sent_is_settled_before_it_is_delivered(tmp_path: Path) -> None:
    store = Store(tmp_path / "q")
    deliver(store, mail(1))
    spool_id = f"{9:026}"
    store.index.begin_release([(1, spool_id)], now=5, by="ali")
    seen: list[str] = []

    class Inner:
        async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
            item = store.index.get(1)
            assert item is not None
            seen.append(item.state)
            return []

        async def close(self) -> None:
            seen.append("closed")

    async def main() -> None:
        door = Settling(Inner(), store)
        await door.deliver(mail(8), ())
        await door.deliver(mail(9, extra={SENT: "1"}), ())
        await door.close()

    asyncio.run(main())
    assert seen == ["held", "released", "closed"]
