"""What `queue check` finds, what a repair does with it, and what it leaves alone."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postane.core.errors import NotFoundError, TemporaryError
from postane.core.outcome import Progress
from postane.spool import record
from postane.spool.check import check
from postane.spool.findings import Report
from postane.spool.journal import Journal, Line
from postane.spool.repair import repair
from postane.spool.segment import mark_journaled
from postane.spool.view import SpoolView
from postane.spool.writer import SpoolWriter
from support.spool import SETTINGS, Written, given_out, overwrite, read, write_segment

TEXTS = [b"Subject: %d\r\n\r\n" % number + b"x" * 100 * number for number in range(5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w0" / "00000001.seg"


@pytest.fixture
def written(path: Path) -> list[Written]:
    return write_segment(path, TEXTS, large={3: b"y" * 9000})


def note(path: Path, *lines: Line) -> None:
    journal = Journal(path.with_suffix(".jnl"))
    for line in lines:
        journal.note(line)
    journal.write(journal.take())
    journal.close()


def spoil(path: Path, at: int) -> None:
    """One octet is another."""
    overwrite(path, at, bytes([path.read_bytes()[at] ^ 0x20]))


def found(report: Report) -> list[tuple[str, int | None, str]]:
    return [(fault.file, fault.at, fault.message) for fault in report.faults]


def reasons(report: Report) -> str:
    return "\n".join(fault.reason for fault in report.faults)


def octets_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """As a living process holds it."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_sound_spool(tmp_path: Path, path: Path, written: list[Written]) -> None:
    note(path, Line(written[0].id, done=True), Line(written[1].id, progress=Progress(held=True)))
    before = octets_of(tmp_path)
    report = check(tmp_path)
    assert (report.clean, report.faults, report.notes) == (True, [], [])
    assert (report.folders, report.segments, report.messages, report.waiting) == (1, 1, 5, 4)
    assert report.octets == sum(len(one.text) for one in written[1:])
    assert octets_of(tmp_path) == before


def test_no_spool(tmp_path: Path) -> None:
    for verb in (check, repair):
        with pytest.raises(NotFoundError):
            verb(tmp_path / "none")


def test_damaged_head(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """The message behind it is found, the octets are told, and a repair sets them aside and keeps the rest."""
    spoil(path, written[1].at + 60)
    lost = path.read_bytes()[written[1].at : written[1].end]
    before = octets_of(tmp_path)
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.seg", written[1].at, "")]
    assert f"{len(lost)} octets" in reasons(report)
    assert f"damaged/w0-00000001-{written[1].at}" in report.faults[0].remedy
    assert octets_of(tmp_path) == before, "nothing is changed"

    report = repair(tmp_path)
    assert report.clean
    assert found(report) == [("w0/00000001.seg", written[1].at, "")]
    assert (tmp_path / "damaged" / f"w0-00000001-{written[1].at}").read_bytes() == lost
    report = check(tmp_path)
    assert report.faults == []
    assert report.messages == 4
    assert read(tmp_path) == {one.id: one.text for one in written if one is not written[1]}


def test_damaged_text(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """The envelope is known: the operator reads whose mail it is. Once it is done nobody misses it."""
    spoil(path, written[2].end - 1)
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.seg", written[2].at, written[2].id)]
    assert "from a@x.test to b@y.test" in reasons(report)
    note(path, Line(written[2].id, done=True))
    assert check(tmp_path).faults == []


@pytest.mark.parametrize("how", ["gone", "short", "altered"])
def test_large_text(tmp_path: Path, path: Path, written: list[Written], how: str) -> None:
    large = path.parent / "large" / written[3].id
    note(path, Line(written[3].id, progress=Progress(held=True)))
    if how == "gone":
        large.unlink()
    elif how == "short":
        os.truncate(large, 8999)
    else:
        spoil(large, 4000)
    lost = large.read_bytes() if how != "gone" else b""
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.seg", written[3].at, written[3].id)]
    assert f"large/{written[3].id}" in reasons(report)
    assert repair(tmp_path).clean
    name = tmp_path / "damaged" / f"w0-00000001-{written[3].at}"
    assert written[3].id.encode() in name.read_bytes()
    if how != "gone":
        assert name.with_name(f"{name.name}.text").read_bytes() == lost
    assert not large.exists()
    assert check(tmp_path).faults == [], "the journal has no line about it any more"
    assert written[3].id not in read(tmp_path)


def test_text_beside_a_damaged_record_is_kept(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """Its record cannot be read: it may be mail, so no worker removes it, and a repair sets it aside."""
    spoil(path, written[3].at)
    stray = path.parent / "large" / written[3].id

    async def worker() -> None:
        await SpoolWriter(tmp_path, SETTINGS).close()

    asyncio.run(worker())
    assert stray.exists()
    assert repair(tmp_path).clean
    assert (tmp_path / "damaged" / f"w0-{written[3].id}.text").read_bytes() == written[3].large
    asyncio.run(worker())
    assert not stray.exists()


@pytest.mark.parametrize("at", [0, 9, 17, 25])
def test_damaged_header(tmp_path: Path, path: Path, written: list[Written], at: int) -> None:
    """The queue cannot read the segment, says so, and keeps it; a repair makes the header from the records."""
    spoil(path, at)
    with capture_logs() as logs:
        assert read(tmp_path) == {}
    assert "segment_unreadable" in {entry["event"] for entry in logs}
    assert found(check(tmp_path)) == [("w0/00000001.seg", 0, "")]
    assert repair(tmp_path).clean
    assert read(tmp_path) == {one.id: one.text for one in written}


@pytest.mark.parametrize("octets", [b"", b"x", bytes(20_000)], ids=["empty", "short", "zeros"])
def test_no_segment_at_all(tmp_path: Path, path: Path, octets: bytes) -> None:
    """Neither worker nor queue is stopped by it; a repair sets it aside."""
    good = write_segment(path.with_name("00000002.seg"), TEXTS)
    path.write_bytes(octets)

    async def worker_and_queue() -> dict[str, bytes | None]:
        writer = SpoolWriter(tmp_path, SETTINGS)
        try:
            return await given_out(tmp_path)
        finally:
            await writer.close()

    with capture_logs() as logs:
        assert asyncio.run(worker_and_queue()) == {one.id: one.text for one in good}
    assert [entry["file"] for entry in logs if entry["event"] == "segment_unreadable"] == [str(path)]
    assert found(check(tmp_path)) == [("w0/00000001.seg", 0, "")]
    assert repair(tmp_path).clean
    assert (tmp_path / "damaged" / "w0-00000001-0").read_bytes() == octets
    assert not path.exists()
    assert check(tmp_path).faults == []


def test_damaged_mark_of_the_end(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """All its mail is given out all the same."""
    spoil(path, record.DURABLE_AT)
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.seg", record.DURABLE_AT, "")]
    assert read(tmp_path) == {one.id: one.text for one in written}
    assert repair(tmp_path).clean
    assert check(tmp_path).faults == []
    assert read(tmp_path) == {one.id: one.text for one in written}


def test_mark_far_behind_the_end_of_the_file(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """Its check fits by chance: no reader runs after it."""
    overwrite(path, record.DURABLE_AT, record.word(2**47))
    assert read(tmp_path) == {one.id: one.text for one in written}
    assert not check(tmp_path).clean
    assert repair(tmp_path).clean
    assert check(tmp_path).faults == []
    assert read(tmp_path) == {one.id: one.text for one in written}


def test_records_behind_the_end(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """Refused with 4xx after an error of the disk, or forgotten: a repair rather delivers twice than never."""
    overwrite(path, record.DURABLE_AT, record.word(written[2].end))
    assert list(read(tmp_path)) == [one.id for one in written[:3]]
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.seg", written[3].at, "")]
    assert repair(tmp_path).clean
    assert read(tmp_path) == {one.id: one.text for one in written}


def test_unsealed_segment_of_a_dead_worker(tmp_path: Path, path: Path) -> None:
    """What a kill leaves is no fault; neither is the torn end of a power cut, with whole records in it or without."""
    written = write_segment(path, TEXTS, sealed=False, durable=record.PAGE)
    report = check(tmp_path)
    assert (report.faults, report.messages) == ([], 5)
    assert "not sealed" in report.notes[0].reason
    spoil(path, written[1].end - 1)
    spoil(path, written[2].at)
    overwrite(path, written[4].at + 10, bytes(40))
    assert check(tmp_path).faults == []
    with capture_logs() as logs:
        assert list(read(tmp_path)) == [written[0].id, written[3].id]
    assert "segment_torn" in {entry["event"] for entry in logs}
    assert "segment_corrupt" not in {entry["event"] for entry in logs}
    assert check(tmp_path).faults == [], "now it is sealed"
    read(tmp_path, done=True)
    assert not path.exists(), "it does not stay for ever"


def test_damage_before_the_mark_survives_recovery(tmp_path: Path, path: Path) -> None:
    """Recovery must not take the mark back and call what was safe once the end of the log."""
    written = write_segment(path, TEXTS, sealed=False)
    spoil(path, written[4].at)
    assert f"{written[4].end - written[4].at} octets" in reasons(check(tmp_path)), "before recovery too"
    for _ in range(2):
        with capture_logs() as logs:
            assert list(read(tmp_path)) == [one.id for one in written[:4]]
        assert [entry["at"] for entry in logs if entry["event"] == "segment_corrupt"] == [written[4].at]
        assert found(check(tmp_path)) == [("w0/00000001.seg", written[4].at, "")]
    read(tmp_path, done=True)
    assert path.exists(), "what is damaged is not deleted"


def test_torn_octets_are_set_aside_too(tmp_path: Path, path: Path) -> None:
    """They were never whole, or the disk lied about the very last: a segment is made anew without them."""
    written = write_segment(path, TEXTS, sealed=False)
    overwrite(path, record.DURABLE_AT, record.word(written[0].end))
    spoil(path, written[0].end - 1)
    spoil(path, written[2].at)
    torn = path.read_bytes()[written[2].at : written[2].end]
    assert repair(tmp_path).clean
    assert (tmp_path / "damaged" / f"w0-00000001-{written[0].at}").exists()
    assert (tmp_path / "damaged" / f"w0-00000001-{written[2].at}").read_bytes() == torn
    assert list(read(tmp_path)) == [written[1].id, written[3].id, written[4].id]


def test_living_worker(tmp_path: Path, path: Path) -> None:
    """Behind the mark of an open segment somebody writes: that is nobody's fault. Before it, it is; and no repair."""
    written = write_segment(path, TEXTS, sealed=False)
    overwrite(path, record.DURABLE_AT, record.word(written[3].at))
    spoil(path, written[4].at)
    (path.parent / "large" / "coming").write_bytes(b"x")
    with held(path.parent):
        report = check(tmp_path)
        assert (report.held, report.faults, report.notes, report.messages) == (["w0"], [], [], 3)
        spoil(path, written[1].at)
        assert found(check(tmp_path)) == [("w0/00000001.seg", written[1].at, "")]
        before = octets_of(tmp_path / "w0")
        report = repair(tmp_path)
        assert not report.clean
        assert report.held == ["w0"]
        assert octets_of(tmp_path / "w0") == before
    assert repair(tmp_path).clean


def test_no_repair_beside_the_queue(tmp_path: Path, path: Path, written: list[Written]) -> None:
    spoil(path, written[1].at)
    (tmp_path / "lock").touch()
    before = octets_of(tmp_path)
    with held(tmp_path):
        assert not check(tmp_path).clean
        with pytest.raises(TemporaryError):
            repair(tmp_path)
    assert octets_of(tmp_path) == before


def test_what_passes_is_no_fault(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """Beside a living queue a text may go between two looks: a fault has to be seen twice."""
    large = path.parent / "large" / written[3].id
    with held(path.parent), pytest.MonkeyPatch.context() as patched:
        large.rename(tmp_path / "away")
        patched.setattr("time.sleep", lambda seconds: (tmp_path / "away").rename(large))
        assert check(tmp_path).clean


def test_page_that_the_disk_does_not_give(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither worker nor queue ends; what stands on other pages is saved by a repair."""
    other = write_segment(path.with_name("00000002.seg"), TEXTS)
    written = write_segment(path, [b"x" * 1500] * 8, sealed=False)
    read_page = os.pread

    def bad(fd: int, length: int, at: int) -> bytes:
        if Path(f"/proc/self/fd/{fd}").readlink() == path and at <= 2 * record.PAGE < at + length:
            raise OSError(5, "Input/output error")
        return read_page(fd, length, at)

    monkeypatch.setattr(os, "pread", bad)

    async def worker_and_queue() -> dict[str, bytes | None]:
        await SpoolWriter(tmp_path, SETTINGS).close()
        return await given_out(tmp_path)

    with capture_logs() as logs:
        assert asyncio.run(worker_and_queue()) == {one.id: one.text for one in other}
    assert {entry["event"] for entry in logs} == {"segment_unreadable"}
    report = check(tmp_path)
    assert "Input/output error" in report.faults[0].reason
    assert repair(tmp_path).clean
    monkeypatch.undo()  # the segment lies elsewhere on the disk now
    assert check(tmp_path).faults == []
    saved = [one for one in written if one.end <= 2 * record.PAGE or one.at >= 3 * record.PAGE]
    assert 3 < len(saved) < len(written)
    assert read(tmp_path) == {one.id: one.text for one in (*saved, *other)}


# -- journals ---------------------------------------------------------------------------------------------------------


def test_damaged_line_in_the_middle(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """The lines behind it count: what they call done is not delivered again."""
    note(path, *(Line(one.id, done=True) for one in written[:3]))
    journal = path.with_suffix(".jnl")
    length = journal.stat().st_size // 3
    lost = bytearray(journal.read_bytes()[length : 2 * length])
    lost[20] ^= 0x20
    spoil(journal, length + 20)
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.jnl", length, "")]
    with capture_logs() as logs:
        assert set(read(tmp_path)) == {written[1].id, written[3].id, written[4].id}
    assert "journal_corrupt" in {entry["event"] for entry in logs}
    assert repair(tmp_path).clean
    assert (tmp_path / "damaged" / f"w0-00000001.jnl-{length}").read_bytes() == lost
    assert check(tmp_path).faults == []
    assert set(read(tmp_path)) == {written[1].id, written[3].id, written[4].id}


def test_torn_end_of_a_journal(tmp_path: Path, path: Path, written: list[Written]) -> None:
    note(path, *(Line(one.id, done=True) for one in written[:2]))
    journal = path.with_suffix(".jnl")
    os.truncate(journal, journal.stat().st_size - 3)
    report = check(tmp_path)
    assert report.faults == []
    assert [(one.file, one.at) for one in report.notes] == [("w0/00000001.jnl", (journal.stat().st_size + 3) // 2)]
    (tmp_path / "lock").touch()
    with held(tmp_path):
        assert check(tmp_path).notes == [], "the queue is writing it"


def test_lines_of_strangers_and_doubled_lines(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """A line that is there twice says nothing new; one about a message of another segment is a fault."""
    done = Line(written[0].id, done=True)
    stranger = Line("01HZZZZZZZZZZZZZZZZZZZZZZZ", done=True)
    note(path, done, stranger, done, Line(written[0].id, progress=Progress(held=True)))
    assert [message for _, _, message in found(check(tmp_path))] == [stranger.message_id]
    assert repair(tmp_path).clean
    assert check(tmp_path).faults == []
    assert set(read(tmp_path)) <= {one.id for one in written}


def test_journal_that_is_lost(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """The segment knows that it had one: its messages come again, and the queue knows that they may."""
    note(path, Line(written[0].id, done=True))
    mark_journaled(path)
    assert check(tmp_path).faults == []
    path.with_suffix(".jnl").unlink()
    report = check(tmp_path)
    assert found(report) == [("w0/00000001.jnl", None, "")]
    assert "delivered again" in reasons(report)
    spoil(path, written[1].at)
    assert not repair(tmp_path).clean, "that cannot be mended"
    assert found(check(tmp_path)) == [("w0/00000001.jnl", None, "")]

    async def doubtful() -> set[bool]:
        view = SpoolView(tmp_path, SETTINGS)
        seen = {message.doubtful for message in view.poll()}
        await view.close()
        return seen

    assert asyncio.run(doubtful()) == {True}


def test_queue_marks_that_there_is_a_journal(tmp_path: Path, path: Path, written: list[Written]) -> None:
    async def work() -> None:
        view = SpoolView(tmp_path, SETTINGS)
        view.poll()
        view.finish(written[0].id)
        await view.sync()
        await view.close()

    asyncio.run(work())
    assert record.read_word(path.read_bytes(), record.JOURNALED_AT) == 1


def test_segment_that_is_lost(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """Its journal is what names the mail: the queue keeps it and says so; a repair sets it aside."""
    note(path, Line(written[0].id, done=True), Line(written[1].id, progress=Progress(held=True)))
    path.unlink()
    assert found(check(tmp_path)) == [("w0/00000001.jnl", None, written[1].id)]
    with capture_logs() as logs:
        assert read(tmp_path) == {}
    assert [entry["messages"] for entry in logs if entry["event"] == "segment_lost"] == [[written[1].id]]
    assert path.with_suffix(".jnl").exists()
    assert repair(tmp_path).clean
    assert written[1].id.encode() in (tmp_path / "damaged" / "w0-00000001.jnl-0").read_bytes()


def test_journal_of_a_spent_segment(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """A crash between two steps leaves it: no fault, and it goes."""
    note(path, Line(written[0].id, done=True))
    path.unlink()
    report = check(tmp_path)
    assert (report.faults, report.notes[0].file) == ([], "w0/00000001.jnl")
    assert repair(tmp_path).clean
    assert not path.with_suffix(".jnl").exists()
    assert not (tmp_path / "damaged").exists()


# -- what else lies there ---------------------------------------------------------------------------------------------


def test_message_that_is_there_twice(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """A folder was copied: each message is given out once, and a repair sets the copies aside."""
    shutil.copytree(path.parent, tmp_path / "w7")
    with capture_logs() as logs:
        assert read(tmp_path) == {one.id: one.text for one in written}
    assert sum(entry["event"] == "message_twice" for entry in logs) == len(written)
    assert found(check(tmp_path)) == [("w7/00000001.seg", one.at, one.id) for one in written]
    assert repair(tmp_path).clean
    assert check(tmp_path).faults == []
    assert read(tmp_path) == {one.id: one.text for one in written}


def test_leftovers_are_notes(tmp_path: Path, path: Path, written: list[Written]) -> None:
    (path.parent / "new.free.tmp").write_bytes(b"x")
    (path.parent / "00000009.free").write_bytes(b"x")
    (path.parent / "notes.txt").write_bytes(b"x")
    (path.parent / "large" / "never").write_bytes(b"x")
    report = check(tmp_path)
    assert report.faults == []
    assert {one.file for one in report.notes} == {"w0/new.free.tmp", "w0/notes.txt", "w0/large/never"}
    assert repair(tmp_path).clean
    assert not (path.parent / "new.free.tmp").exists()
    assert (path.parent / "notes.txt").exists()


def test_repair_again_overwrites_nothing(tmp_path: Path, path: Path) -> None:
    """Segment numbers may come again: what was set aside first stays."""
    for _ in range(2):
        written = write_segment(path, TEXTS)
        spoil(path, written[1].at)
        assert repair(tmp_path).clean
    names = sorted(one.name for one in (tmp_path / "damaged").iterdir())
    assert names == [f"w0-00000001-{written[1].at}", f"w0-00000001-{written[1].at}.2"]


def test_crash_in_the_middle_of_a_repair(tmp_path: Path, path: Path, written: list[Written]) -> None:
    """At each step: nothing is lost, and the next repair comes to the same end."""
    spoil(path, written[1].at)
    spoil(path.parent / "large" / written[3].id, 7)
    note(path, Line(written[3].id, progress=Progress(held=True)), Line(written[0].id, done=True))
    keep = tmp_path / "keep"
    shutil.copytree(path.parent, keep / "w0")
    want = {one.id: one.text for one in (written[2], written[4])}

    class CrashError(Exception):
        pass

    for step in range(100):
        root = tmp_path / f"s{step}"
        shutil.copytree(keep, root)
        left = [step]

        def counted(original: object) -> object:
            def call(*arguments: object, **named: object) -> object:
                if not left[0]:  # noqa: B023
                    raise CrashError
                left[0] -= 1  # noqa: B023
                return original(*arguments, **named)  # type: ignore[operator]

            return call

        with pytest.MonkeyPatch.context() as patched:
            for name in ("open", "fsync", "link", "unlink", "rename", "mkdir"):
                patched.setattr(os, name, counted(getattr(os, name)))
            try:
                repair(root)
            except CrashError:
                crashed = True
            else:
                crashed = False
        pieces = b"".join(one.read_bytes() for one in root.rglob("*") if one.is_file() and "w0" in str(one))
        assert pieces.count(b"y" * 4000), "the damaged text is still somewhere"
        assert repair(root).clean
        assert check(root).faults == []
        assert read(root) == want
        shutil.rmtree(root)
        if not crashed:
            break
    assert step > 10
