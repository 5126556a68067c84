from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postane.acceptance import inbox as module
from postane.acceptance.inbox import Arrived, FirstOf, Inbox, MaildirReader
from postane.acceptance.inbox import Reader as AnyReader
from postane.acceptance.result import FailedError


class Reader:
    """Gives what it was given, a list at each look; an error is raised."""

    def __init__(self, *looks: list[Arrived] | Exception) -> None:
        self._looks = list(looks)
        self.closed = False

    def new(self) -> list[Arrived]:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def empty(self) -> None:
        raise OSError("gone")

    def close(self) -> None:
        self.closed = True


def waited(reader: AnyReader, *tokens: str, seconds: float = 10.0) -> list[Arrived | str]:
    async def work() -> list[Arrived | str]:
        inbox = Inbox(reader)
        watch = asyncio.create_task(inbox.watch())
        found = await asyncio.gather(*(inbox.wait(one, seconds) for one in tokens), return_exceptions=True)
        watch.cancel()
        await inbox.empty()  # what cannot be emptied is left
        inbox.close()
        return [one if isinstance(one, Arrived) else str(one) for one in found]

    return asyncio.run(work())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)


def test_each_gets_its_own() -> None:
    one, two = Arrived("INBOX", b"X: one\r\n"), Arrived("Junk", b"X: two\r\n")
    reader = Reader([], [two], [one], [])
    assert waited(reader, "one", "two") == [one, two]
    assert reader.closed


def test_what_does_not_come_is_told() -> None:
    assert waited(Reader([]), "one", seconds=0.1) == ["not_arrived"]


def test_a_look_may_fail_and_many_bar_the_mailbox() -> None:
    one = Arrived("INBOX", b"one")
    assert waited(Reader(OSError("busy"), FailedError("closed"), [one], []), "one") == [one]
    assert waited(Reader(OSError("no route")), "one", "two") == ["no_mailbox"] * 2


def test_the_first_that_gets_in() -> None:
    one, two = Arrived("INBOX", b"one"), Arrived("INBOX", b"two")
    broken = Reader(OSError("no route"), [one])
    both = FirstOf(broken, Reader([two]))
    assert both.new() == [two]
    assert both.new() == [one]
    both.close()
    assert broken.closed
    assert waited(FirstOf(Reader(OSError("a")), Reader(FailedError("closed"))), "one") == ["no_mailbox"]
    assert waited(FirstOf(Reader(OSError("a")), Reader([one])), "") == [one]


def test_headers_are_unfolded() -> None:
    arrived = Arrived("INBOX", b"A: 1\r\nReceived: from x\r\n\tby y\r\nreceived: z\r\n\r\nReceived: body\r\n")
    assert arrived.headers("Received") == ["Received: from x by y", "received: z"]


def test_a_maildir(tmp_path: Path) -> None:
    reader = MaildirReader(tmp_path)
    assert reader.new() == []
    for name in ("new", "cur", ".Junk/new"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "new" / "1").write_bytes(b"one")
    (tmp_path / ".Junk" / "new" / "1").write_bytes(b"spam")
    (tmp_path / "cur" / "2:2,S").write_bytes(b"two")
    found = reader.new()
    assert {(one.folder, one.octets) for one in found} == {("INBOX", b"one"), ("INBOX", b"two"), ("Junk", b"spam")}
    (tmp_path / "new" / "1").rename(tmp_path / "cur" / "1:2,S")
    assert reader.new() == []
    reader.empty()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
