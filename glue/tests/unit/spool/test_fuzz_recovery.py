"""A log that was cut, torn, zeroed or altered anywhere: what is whole is mail, nothing altered is, nothing breaks."""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from structlog.testing import capture_logs

from postane.core.errors import CorruptSpoolError
from postane.spool import record
from postane.spool.repair import repair
from postane.spool.segment import recover
from postane.spool.view import _Segment
from support.spool import SERIAL, Written, envelope, read, write_segment

SEED = int(os.environ.get("POSTANE_FUZZ_SEED", "1"))
ROUNDS = int(os.environ.get("POSTANE_FUZZ_ROUNDS", "400"))
_SIZE = 16 * 1024


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of crashes, and none of them real: there is nothing to wait for."""
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The spool in memory, where the system has such a folder."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def path(root: Path) -> Path:
    return root / "w0" / "00000001.seg"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of faults, each told in the log."""
    with capture_logs():
        yield


def texts(count: int = 4) -> list[bytes]:
    chance = random.Random(SEED)
    return [b"Subject: %d\r\n\r\n" % number + chance.randbytes(chance.randrange(120)) for number in range(count)]


def after_a_crash(path: Path, octets: bytes | bytearray) -> dict[str, bytes | None]:
    """What the queue gives out of these octets once they are recovered; None for a text that is refused."""
    path.write_bytes(octets)
    recover(path)
    segment = _Segment(path)
    try:
        found: dict[str, bytes | None] = {}
        for message in segment.read_on(1_000_000):
            assert message.id not in found
            try:
                found[message.id] = message.read()
            except CorruptSpoolError:
                found[message.id] = None
        assert segment.read_up
    finally:
        segment.close()
    return found


def check_out(found: dict[str, bytes | None], written: list[Written], whole: list[Written], what: object) -> None:
    """All that is whole is given out, and whatever is given out is what was written."""
    true = {one.id: one.text for one in written}
    assert [i for i, text in found.items() if text is not None] == [one.id for one in whole], what
    assert all(text == true[i] for i, text in found.items() if text is not None), what


def earlier_life(seed: int) -> bytes:
    """Octets of a used-again file: whole records under another serial number."""
    blocks = []
    for number in range(40):
        text = b"old mail %d" % number
        blocks += [record.pack_record(SERIAL ^ seed, envelope(f"OLD{number}"), (len(text), record.crc([text]))), text]
    return b"".join(blocks)


@pytest.mark.parametrize("behind", ["zeros", "an earlier life", "noise"])
def test_cut_at_every_octet(path: Path, behind: str) -> None:
    """Written up to here when the machine stopped; the mark of the end is as old as it can be, or just right."""
    written = write_segment(path, texts(), size=_SIZE, sealed=False)
    whole = path.read_bytes()
    rest = {"zeros": bytes(_SIZE), "an earlier life": earlier_life(7)}.get(behind) or random.Random(SEED).randbytes(
        _SIZE
    )
    for cut in range(record.PAGE, written[-1].end + 1):
        kept = [one for one in written if one.end <= cut]
        for durable in {record.PAGE, kept[-1].end if kept else record.PAGE}:
            torn = bytearray(whole[:cut] + rest[: _SIZE - cut])
            torn[record.DURABLE_AT : record.DURABLE_AT + 8] = record.word(durable)
            found = after_a_crash(path, torn)
            check_out(found, written, kept, (cut, durable))
            assert len(found) == len(kept), "what was never whole is no mail"


def test_file_that_ends_at_every_octet(path: Path) -> None:
    """A half segment: the file system lost the end of the file."""
    written = write_segment(path, texts(), size=_SIZE, sealed=False)
    whole = path.read_bytes()
    for cut in range(record.PAGE, written[-1].end + 1, 3):
        check_out(after_a_crash(path, whole[:cut]), written, [one for one in written if one.end <= cut], cut)
    for cut in range(0, record.PAGE, 97):
        with pytest.raises(CorruptSpoolError):
            after_a_crash(path, whole[:cut])


def sectors(size: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(record.PAGE, end, size):
        yield at, min(at + size, _SIZE)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "open"])
@pytest.mark.parametrize("filling", ["zeros", "noise", "an earlier life"])
@pytest.mark.parametrize("sector", [512, 4096])
def test_every_lost_sector(path: Path, sealed: bool, filling: str, sector: int) -> None:
    """Pages reach the disk in any order; a bad disk loses any. What lies whole before and behind stays mail."""
    written = write_segment(path, [text * 8 for text in texts(8)], size=_SIZE, sealed=sealed)
    whole = path.read_bytes()
    for at, end in sectors(sector, written[-1].end):
        filler = {"zeros": bytes(end - at), "an earlier life": earlier_life(9)[: end - at]}
        octets = filler.get(filling) or random.Random(at).randbytes(end - at)
        hit = bytearray(whole)
        hit[at:end] = octets
        for durable in {record.PAGE, written[-1].end} if not sealed else {written[-1].end}:
            hit[record.DURABLE_AT : record.DURABLE_AT + 8] = record.word(durable)
            kept = [one for one in written if one.end <= at or one.at >= end]
            check_out(after_a_crash(path, hit), written, kept, (at, durable))


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "open"])
def test_flipped_bits(path: Path, sealed: bool) -> None:
    """One to four bits anywhere, the header too: a record that none of them hit is not lost, unless with the header."""
    chance = random.Random(SEED)
    print(f"POSTANE_FUZZ_SEED={SEED}")
    written = write_segment(path, texts(6), size=_SIZE, sealed=sealed)
    whole = path.read_bytes()
    for _ in range(ROUNDS):
        hit = bytearray(whole)
        places = [chance.randrange(record.PAGE - 200, written[-1].end) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.3:
            places[0] = chance.randrange(100)
        for at in places:
            hit[at] ^= 1 << chance.randrange(8)
        try:
            found = after_a_crash(path, hit)
        except CorruptSpoolError:
            assert min(places) < 28, "only a damaged header makes a segment unreadable"
            assert path.read_bytes() == hit, "and then nothing is written to it"
            continue
        kept = [one for one in written if whole[one.at : one.end] == hit[one.at : one.end]]
        check_out(found, written, kept, places)


def test_flipped_bits_are_repaired(root: Path, path: Path) -> None:
    """After a repair whatever was not hit is mail, even where the header was; and there is nothing left to repair."""
    chance = random.Random(SEED)
    whole = b""
    for number in range(max(12, ROUNDS // 20)):
        written = write_segment(path, texts(6), size=_SIZE)
        whole = path.read_bytes()
        hit = bytearray(whole)
        places = [chance.choice([chance.randrange(30), chance.randrange(record.PAGE, written[-1].end)]) for _ in "12"]
        for at in places:
            hit[at] ^= 1 << chance.randrange(8)
        path.write_bytes(hit)
        report = repair(root)
        assert report.clean, (number, places, report.faults)
        again = repair(root)
        assert again.faults == [], (number, places, again.faults)
        kept = {one.id: one.text for one in written if whole[one.at : one.end] == hit[one.at : one.end]}
        assert read(root, done=True) == kept, (number, places)


def test_recovery_takes_little_more_than_reading(path: Path) -> None:
    """A second for 10,000 messages is the promise; held here as a ratio to reading and summing the same octets."""
    count, text = 10_000, b"x" * 4096
    write_segment(path, [text] * count, size=count * 4600 + record.PAGE, sealed=False, durable=record.PAGE)
    began = time.process_time()
    octets = path.read_bytes()
    for at in range(0, len(octets), 4096):
        zlib.crc32(octets[at : at + 4096])
    plain = time.process_time() - began
    began = time.process_time()
    assert recover(path) == count
    spent = time.process_time() - began
    print(f"{count} messages of 4 KiB recovered in {spent:.3f} s of processor time; reading them alone {plain:.3f} s")
    assert spent < 20 * plain + 0.2
