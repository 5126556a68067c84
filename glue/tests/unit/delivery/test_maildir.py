from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from postane.core.envelope import Envelope, Recipient
from postane.core.errors import CorruptSpoolError, TemporaryError
from postane.core.ids import make_id
from postane.core.outcome import Outcome
from postane.core.ports import Mailbox
from postane.delivery import maildir
from postane.delivery.maildir import MaildirTransport
from support.queue import TEXT, Mail, any_mailbox

NOW = 1_800_000_000.0


def mail(number: int, *to: str, at: float = NOW, text: bytes = TEXT) -> tuple[Mail, list[Recipient]]:
    recipients = tuple(Recipient(address) for address in to or ("ayse@demo.test",))
    message_id = make_id(at, number.to_bytes(10, "big"))
    return Mail(Envelope(message_id, "bob@far.test", recipients, at), text), list(recipients)


def boxes(
    root: Path, test: Callable[[MaildirTransport], Coroutine[Any, Any, None]], gone: tuple[str, ...] = ()
) -> None:
    async def find(address: str) -> Mailbox | None:
        if address.startswith("down"):
            raise TemporaryError("the directory is away")
        return None if address in gone else await any_mailbox(address)

    async def main() -> None:
        transport = MaildirTransport(root, "mail.demo.test", find)
        try:
            await test(transport)
        finally:
            await transport.close()

    asyncio.run(main())


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def fates(outcomes: list[Outcome]) -> list[str]:
    return [outcome.fate.value for outcome in outcomes]


def test_one_file_in_new_with_the_return_path(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        message, to = mail(1, "ayse@demo.test", "çiğdem@demo.test")
        assert fates(await transport.deliver(message, to)) == ["delivered", "delivered"]
        one, two = files(tmp_path)
        assert one.parent == tmp_path / "demo.test/ayse/Maildir/new"
        assert two.parent == tmp_path / "demo.test/çiğdem/Maildir/new"
        assert message.envelope.id in one.name
        assert one.read_bytes() == b"Return-Path: <bob@far.test>\r\nDelivered-To: ayse@demo.test\r\n" + TEXT
        assert one.stat().st_mode & 0o777 == 0o600

    boxes(tmp_path, test)


def test_many_together_all_arrive(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        made = [mail(n, f"u{n % 7}@demo.test") for n in range(700)]
        outcomes = await asyncio.gather(*(transport.deliver(*one) for one in made))
        assert all(fates(outcome) == ["delivered"] for outcome in outcomes)
        assert len(files(tmp_path)) == 700

    boxes(tmp_path, test)


@pytest.mark.parametrize("where", ["new", "cur"])
def test_repeated_delivery_never_doubles(tmp_path: Path, where: str) -> None:
    message, to = mail(1, at=NOW - 60)
    message.doubtful = True

    async def test(transport: MaildirTransport) -> None:
        assert fates(await transport.deliver(message, to)) == ["delivered"]

    boxes(tmp_path, test)
    (file,) = files(tmp_path)
    if where == "cur":  # a reader took it before the queue came back
        file.rename(file.parent.parent / "cur" / f"{file.name}:2,S")
    boxes(tmp_path, test)
    assert len(files(tmp_path)) == 1


def test_leavings_of_a_crash_in_tmp_do_no_harm(tmp_path: Path) -> None:
    message, to = mail(1)
    left = tmp_path / "demo.test/ayse/Maildir/tmp" / f"{int(NOW)}.{message.envelope.id}.mail.demo.test"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a mess" * 1000)

    async def test(transport: MaildirTransport) -> None:
        assert fates(await transport.deliver(message, to)) == ["delivered"]
        (file,) = files(tmp_path)
        assert file.read_bytes().endswith(TEXT)

    boxes(tmp_path, test)


def test_synced_before_it_is_called_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is synced before it gets its name, and the folder after that."""
    events: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        events.append("sync " + os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
        real_fsync(fd)

    def rename(old: str, new: str) -> None:
        events.append("rename")
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)

    async def test(transport: MaildirTransport) -> None:
        await transport.deliver(*mail(1))
        box = "demo.test/ayse/Maildir"
        name = files(tmp_path)[0].name
        assert events[-3:] == [f"sync {box}/tmp/{name}", "rename", f"sync {box}/new"]
        assert f"sync {box}" in events[:-3], "the new folders have their names synced"
        assert "sync ." in events[:-3]

    boxes(tmp_path, test)


def test_disk_full_delays_one_and_not_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = maildir._write_all

    def write(fd: int, pieces: Any) -> None:
        if b"TOO MUCH" in b"".join(bytes(piece) for piece in pieces):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, pieces)

    monkeypatch.setattr(maildir, "_write_all", write)

    async def test(transport: MaildirTransport) -> None:
        bad, good = mail(1, text=b"A: b\r\n\r\nTOO MUCH\r\n"), mail(2)
        outcomes = await asyncio.gather(transport.deliver(*bad), transport.deliver(*good))
        assert [fates(outcome) for outcome in outcomes] == [["delayed"], ["delivered"]]
        assert str(outcomes[0][0].reply) == "452 4.3.1 No space left on device"
        assert len(files(tmp_path)) == 1, "nothing is left in tmp/"

    boxes(tmp_path, test)


def test_failed_sync_is_not_delivered_and_its_repeat_does_not_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = maildir._sync_folder
    fail = True

    def sync(path: Path) -> None:
        if fail and path.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(maildir, "_sync_folder", sync)

    async def test(transport: MaildirTransport) -> None:
        nonlocal fail
        message, to = mail(1)
        assert fates(await transport.deliver(message, to)) == ["delayed"]
        (file,) = files(tmp_path)
        file.rename(file.parent.parent / "cur" / f"{file.name}:2,")
        fail = False
        assert fates(await transport.deliver(message, to)) == ["delivered"]
        assert len(files(tmp_path)) == 1

    boxes(tmp_path, test)


def test_deleted_account_fails_and_a_directory_away_delays(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        outcomes = await transport.deliver(*mail(1, "gone@demo.test", "down@demo.test", "ayse@demo.test"))
        assert fates(outcomes) == ["failed", "delayed", "delivered"]
        assert outcomes[0].reply.enhanced == "5.1.1"

    boxes(tmp_path, test, gone=("gone@demo.test",))


def test_damaged_message_raises(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        message, to = mail(1)
        message.failure = CorruptSpoolError("bad sum")
        with pytest.raises(CorruptSpoolError):
            await transport.deliver(message, to)
        assert not files(tmp_path)

    boxes(tmp_path, test)


def test_folders_that_were_there_are_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who made them may have been killed before their names were on the disk; the next one cannot know."""
    box = tmp_path / "vmail/demo.test/ayse/Maildir"
    for name in ("tmp", "new", "cur"):
        (box / name).mkdir(parents=True)
    synced: list[Path] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)

    async def test(transport: MaildirTransport) -> None:
        for number in (1, 2):
            assert fates(await transport.deliver(*mail(number))) == ["delivered"]

    boxes(tmp_path / "vmail", test)
    above = [tmp_path, *box.parents[:3], box]
    assert set(above) <= set(synced)
    assert all(synced.count(folder) == 1 for folder in above)


def test_a_mailbox_that_was_removed_is_made_again(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        assert fates(await transport.deliver(*mail(1))) == ["delivered"]
        shutil.rmtree(tmp_path / "demo.test")
        assert fates(await transport.deliver(*mail(2))) == ["delivered"]
        assert len(files(tmp_path)) == 1

    boxes(tmp_path, test)


def test_a_mailbox_comes_after_the_last_one_of_its_domain_was_removed(tmp_path: Path) -> None:
    async def test(transport: MaildirTransport) -> None:
        assert fates(await transport.deliver(*mail(1, "ayse@demo.test"))) == ["delivered"]
        shutil.rmtree(tmp_path / "demo.test")
        assert fates(await transport.deliver(*mail(2, "mehmet@demo.test"))) == ["delivered"]

    boxes(tmp_path, test)
