"""The spool as its two users see it: what was put is given out once, survives every crash, and goes when done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from postane.config.model import Spool
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import CorruptSpoolError, SpoolFullError, TemporaryError
from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.reply import Reply
from postane.spool import record, segment
from postane.spool.draft import Draft
from postane.spool.view import SpoolView
from postane.spool.writer import SpoolWriter

SETTINGS = Spool(segment_size=64 * 1024, large_message=8 * 1024, reserve=0)


def envelope(message_id: str) -> Envelope:
    return Envelope(message_id, "a@x.test", (Recipient("b@y.test"), Recipient("c@y.test")), 1.5)


async def put(writer: SpoolWriter, text: bytes, head: bytes = b"Received: x\r\n") -> str:
    message_id = writer.new_id()
    draft = writer.draft(message_id)
    for at in range(0, len(text), 3000):
        draft.append(text[at : at + 3000])
    await writer.put(envelope(message_id), head, draft)
    draft.close()
    return message_id


def asynchronous(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@asynchronous
async def test_put_and_read(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    small, large = b"Subject: a\r\n\r\nhi\r\n", b"Subject: b\r\n\r\n" + b"x" * 70_000 + b"\r\n"
    ids = [await put(writer, small), await put(writer, large), await put(writer, b"")]
    found = {message.envelope.id: message for message in view.poll()}
    assert list(found) == ids
    assert [found[i].read() for i in ids] == [b"Received: x\r\n" + text for text in (small, large, b"")]
    assert [found[i].size for i in ids] == [len(found[i].read()) for i in ids]
    assert found[ids[0]].envelope == envelope(ids[0])
    assert view.poll() == []
    await view.close()
    await writer.close()


@asynchronous
async def test_many_share_a_sync(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    await asyncio.gather(*(put(writer, b"x" * 100) for _ in range(200)))
    assert writer.syncs <= 10
    view = SpoolView(tmp_path, SETTINGS)
    assert len(view.poll()) == 200
    await view.close()
    await writer.close()


@asynchronous
async def test_progress_and_done_survive(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    first, second, third = [await put(writer, b"x") for _ in range(3)]
    view.poll()
    tried = Tried(Outcome("b@y.test", Fate.DELAYED, Reply(451, "4.2.0", "later"), "mx.y.test"), 2, 77.5)
    view.record(first, Progress({"b@y.test": tried}))
    view.record(first, Progress(warned=True))
    view.finish(second)
    await view.close()
    await writer.close()

    view = SpoolView(tmp_path, SETTINGS)
    found = {message.envelope.id: message for message in view.poll()}
    assert set(found) == {first, third}
    assert found[first].progress == Progress({"b@y.test": tried}, warned=True)
    assert found[third].progress == Progress()
    await view.close()


@asynchronous
async def test_spent_segments_are_used_again(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    for _ in range(8):
        ids = [await put(writer, b"x" * 5000) for _ in range(20)]
        big = await put(writer, b"y" * 30_000)
        assert {m.envelope.id for m in view.poll()} == {*ids, big}
        for message_id in (*ids, big):
            view.finish(message_id)
        await view.sync()
    assert len(list(tmp_path.glob("w*/*.seg"))) <= 2
    assert len(list(tmp_path.glob("w*/*.jnl"))) <= 2
    assert 0 < len(list(tmp_path.glob("w*/*.free"))) <= 4
    assert list(tmp_path.glob("w*/large/*")) == []
    await view.close()
    await writer.close()


def _crash(writer: SpoolWriter) -> Path:
    """As if the worker was killed: nothing sealed, its lock free. Returns its last segment."""
    os.close(writer._lock)
    writer._work.put(None)
    writer._thread.join()
    return max(writer.folder.glob("*.seg"))


@asynchronous
async def test_torn_tail_after_a_crash(tmp_path: Path) -> None:
    """Whatever stands behind the last whole record, the whole ones are given out and nothing else."""
    writer = SpoolWriter(tmp_path, SETTINGS)
    ids = [await put(writer, b"x" * 100) for _ in range(3)]
    path = _crash(writer)
    whole = path.read_bytes()
    ends = []
    at = record.PAGE
    serial = record.segment_serial(whole, "")
    while (one := record.read_record(whole, at, serial)) is not None:
        ends.append(one.end)
        at = one.end
    for cut in range(record.PAGE, ends[-1] + 1, 7):
        torn = bytearray(whole)
        torn[cut:] = bytes(len(torn) - cut)
        torn[record.DURABLE_AT : record.DURABLE_AT + 8] = record.word(record.PAGE)  # the page was never synced again
        path.write_bytes(torn)
        view = SpoolView(tmp_path, SETTINGS)
        assert [m.envelope.id for m in view.poll()] == ids[: sum(end <= cut for end in ends)]
        await view.close()


@asynchronous
async def test_a_worker_drops_texts_that_never_became_mail(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    kept = await put(writer, b"y" * 30_000)
    draft = writer.draft(writer.new_id())
    draft.append(b"z" * 30_000)
    assert len(list(writer.folder.glob("large/*"))) == 2
    _crash(writer)
    again = SpoolWriter(tmp_path, SETTINGS)
    assert [path.name for path in again.folder.glob("large/*")] == [kept]
    await again.close()


@asynchronous
async def test_a_dead_workers_mail_is_adopted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    kept = await put(writer, b"x")
    _crash(writer)
    view = SpoolView(tmp_path, SETTINGS)
    assert [m.envelope.id for m in view.poll()] == [kept]
    view.finish(kept)
    await view.sync()
    assert list(writer.folder.glob("*.seg")) == []
    await view.close()


@asynchronous
async def test_a_changed_octet_is_noticed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    await put(writer, b"hello world")
    large = await put(writer, b"y" * 30_000)
    view = SpoolView(tmp_path, SETTINGS)
    messages = view.poll()
    path = max(writer.folder.glob("*.seg"))
    octets = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(octets.index(b"hello"))
        file.write(b"jello")
    with (writer.folder / "large" / large).open("r+b") as file:
        file.write(b"z")
    for message in messages:
        with pytest.raises(CorruptSpoolError):
            message.read()
    await view.close()
    await writer.close()


@asynchronous
async def test_no_room_is_said_and_passes(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    original = segment._empty_file

    def full(folder: Path, size: int) -> tuple[int, Path]:
        raise OSError(28, "No space left on device")

    segment._empty_file = full
    try:
        with pytest.raises(SpoolFullError):
            await put(writer, b"x")
    finally:
        segment._empty_file = original
    kept = await put(writer, b"x")
    view = SpoolView(tmp_path, SETTINGS)
    assert [m.envelope.id for m in view.poll()] == [kept]
    await view.close()
    await writer.close()


@asynchronous
async def test_reserve(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, Spool(reserve=1 << 60))
    assert not writer.room_for(1)
    await writer.close()


@asynchronous
async def test_one_queue_at_a_time(tmp_path: Path) -> None:
    view = SpoolView(tmp_path, SETTINGS)
    with pytest.raises(TemporaryError):
        SpoolView(tmp_path, SETTINGS)
    await view.close()


@asynchronous
async def test_the_queue_is_woken(tmp_path: Path) -> None:
    view = SpoolView(tmp_path, SETTINGS)
    writer = SpoolWriter(tmp_path, SETTINGS)
    waiting = asyncio.create_task(view.wait(30))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await put(writer, b"x")
    await asyncio.wait_for(waiting, 5)
    await put(writer, b"y")  # nobody listens at this moment
    await asyncio.wait_for(view.wait(30), 5)
    with pytest.raises(TimeoutError):  # one call, one waking
        await asyncio.wait_for(view.wait(30), 0.05)
    await view.close()
    await writer.close()


def test_a_discarded_draft_leaves_nothing(tmp_path: Path) -> None:
    draft = Draft(tmp_path, "d", 10)
    draft.append(b"x" * 11)
    assert (tmp_path / "d").exists()
    assert draft.bytes() == b"x" * 11
    draft.append(b"y")
    assert draft.bytes() == b"x" * 11 + b"y"
    draft.discard()
    assert list(tmp_path.iterdir()) == []


def _kill(view: SpoolView) -> None:
    """As if the queue process was killed: nothing synced, its locks free."""
    asyncio.get_running_loop().remove_reader(view._fifo)
    os.close(view._lock)
    os.close(view._writer._lock)
    view._writer._work.put(None)
    view._writer._thread.join()


@asynchronous
async def test_what_was_in_flight_at_a_kill_is_known(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    view.poll()
    flying, done, tried, idle = [await put(writer, b"x") for _ in range(4)]
    assert not any(message.doubtful for message in view.poll())
    for message_id in (flying, done, tried):
        view.begin(message_id)
    view.finish(done)
    view.record(tried, Progress(warned=True))
    view.end(tried)
    await view.sync()
    view.end(flying)  # not synced any more
    _kill(view)

    view = SpoolView(tmp_path, SETTINGS)
    assert {message.id: message.doubtful for message in view.poll()} == {flying: True, tried: False, idle: False}
    later = await put(writer, b"x")
    assert [(message.id, message.doubtful) for message in view.poll()] == [(later, False)]
    await view.close()
    await writer.close()


@asynchronous
async def test_resting_message_is_read_again(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    message_id = await put(writer, b"Subject: a\r\n\r\nhi\r\n")
    (message,) = view.poll()
    before = message.envelope, message.size, message.read()
    message.rest()
    assert (message.envelope, message.size, message.read()) == before
    assert message.envelope is not message.envelope, "it is not kept"
    view.begin(message_id)
    assert message.envelope is message.envelope
    await view.close()
    await writer.close()


@asynchronous
async def test_crowd_is_given_out_in_parts_and_in_order(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, SETTINGS)
    ids = [await put(writer, b"x" * 3000) for _ in range(100)]
    view = SpoolView(tmp_path, SETTINGS)
    parts = [view.poll(30) for _ in range(4)]
    assert [len(part) for part in parts] == [30, 30, 30, 10]
    assert [message.id for part in parts for message in part] == ids
    assert view.poll(30) == []
    view.record(ids[50], Progress(held=True))
    view.finish(ids[51])
    await view.close()

    view = SpoolView(tmp_path, SETTINGS)
    found = {message.id: message for part in [view.poll(7) for _ in range(20)] for message in part}
    assert list(found) == ids[:51] + ids[52:]
    assert found[ids[50]].progress.held
    await view.close()
    await writer.close()


@asynchronous
async def test_poll_of_a_long_spool_looks_for_no_names(tmp_path: Path) -> None:
    """What is new is found with the same effort beside one segment and beside thirty."""
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    for _ in range(30):
        await asyncio.gather(*(put(writer, b"x" * 3000) for _ in range(18)))
    await put(writer, b"x")  # begins a segment with room for the next
    assert len(view.poll()) == 541
    assert len(list(tmp_path.glob("w*/*.seg"))) > 20
    for folder in tmp_path.glob("w*"):
        os.utime(folder, (1.0, 1.0))
    assert view.poll() == []
    message_id = await put(writer, b"x")
    view._orphans_seen = asyncio.get_running_loop().time()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "glob", lambda *_: pytest.fail("looked for names"))
        assert [message.id for message in view.poll()] == [message_id]
    await view.close()
    await writer.close()


@asynchronous
async def test_who_waits_for_news_can_be_cancelled_in_the_turn_that_brings_them(tmp_path: Path) -> None:
    view = SpoolView(tmp_path, SETTINGS)
    for turns in range(6):  # between the news and the cancellation
        waiting = asyncio.create_task(view.wait(60))
        await asyncio.sleep(0.02)
        view._woken.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting
    await view.close()


def test_a_draft_on_a_disk_that_fails_is_given_up_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is discarded because the disk fails; an error from that would leave the sessions beside it unanswered."""
    draft = Draft(tmp_path, "d", 10)
    draft.append(b"x" * 11)

    def broken(path: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "unlink", broken)
    draft.discard()


@asynchronous
async def test_a_text_that_cannot_be_opened_now_is_not_called_damaged(tmp_path: Path) -> None:
    """No descriptor left, no memory, a bad disk: that passes. Only what is gone is damage."""
    writer = SpoolWriter(tmp_path, SETTINGS)
    view = SpoolView(tmp_path, SETTINGS)
    await put(writer, b"x" * 20_000)
    (message,) = view.poll()
    (file,) = tmp_path.glob("w*/large/*")
    file.rename(file.with_suffix(".away"))
    file.symlink_to(file)  # opening it fails, as with a full table of descriptors
    with pytest.raises(TemporaryError):
        message.chunks()
    file.unlink()
    with pytest.raises(CorruptSpoolError):
        message.chunks()
    await view.close()
    await writer.close()


@asynchronous
async def test_the_names_of_the_folders_are_synced_whoever_made_them(tmp_path: Path) -> None:
    """A process may be killed between making a folder and syncing its name; the next one cannot know."""
    root = tmp_path / "spool"
    (root / "w0").mkdir(parents=True)
    synced: list[Path] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        writer = SpoolWriter(root, SETTINGS)
        await put(writer, b"x")
    assert {tmp_path, root, root / "w0"} <= set(synced)
    await writer.close()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_segment_of_an_older_version_is_read(tmp_path: Path, sealed: bool) -> None:
    """Format 1: no CRC of the header, words without their checks."""

    async def run() -> None:
        writer = SpoolWriter(tmp_path, SETTINGS)
        ids = [await put(writer, b"one"), await put(writer, b"two")]
        path = next(writer.folder.glob("*.seg"))
        await writer.close()
        page = bytearray(path.read_bytes())
        durable = record.read_word(bytes(page), record.DURABLE_AT)
        page[8:10], page[24:28] = b"\1\0", bytes(4)
        page[record.DURABLE_AT : record.JOURNALED_AT + 8] = bytes(32)
        page[record.DURABLE_AT : record.DURABLE_AT + 8] = durable.to_bytes(8, "little")
        page[record.SEALED_AT] = sealed
        path.write_bytes(page)
        view = SpoolView(tmp_path, SETTINGS)
        assert [message.id for message in view.poll()] == ids
        await view.close()

    asyncio.run(run())
