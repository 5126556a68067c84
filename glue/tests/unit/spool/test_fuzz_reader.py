"""Any octets as segment and journal: nothing but the errors that are named leaves the readers, and nothing is lost.

POSTANE_FUZZ_SECONDS sets how long (for hours: another seed each time), POSTANE_FUZZ_SEED the seed.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from structlog.testing import capture_logs

import postane.spool
from postane.core.errors import CorruptSpoolError
from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.reply import Reply
from postane.spool import record
from postane.spool.check import check
from postane.spool.journal import Journal, Line
from postane.spool.record import PAGE, RECORD_HEAD
from postane.spool.repair import repair
from postane.spool.segment import large_texts, recover
from postane.spool.view import _Segment
from support.fuzz import fuzz
from support.spool import SERIAL, write_segment

SECONDS = float(os.environ.get("POSTANE_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("POSTANE_FUZZ_SEED", "1" if SECONDS <= 3 else str(time.time_ns() % 2**32)))

_HEAD = 128  # octets of the header page that are of interest; an input has them in front of the records
_SEGMENT, _SEGMENT_FIXED, _JOURNAL, _JOURNAL_FIXED = range(4)  # what an input is, by its first octet


class Ground:
    """A spool of one folder, made anew for each input."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "w0" / "00000001.seg"
        self.journal = self.path.with_suffix(".jnl")
        written = write_segment(self.path, [b"Subject: a\r\n\r\n", b"x" * 50], size=PAGE + 1024, large={1: b"y" * 30})
        self.good = self.path.read_bytes()
        self.large = root / "w0" / "large" / written[1].id
        journal = Journal(self.journal)
        tried = Tried(Outcome("b@y.test", Fate.DELAYED, Reply(451, "4.2.0", "later"), "mx.y.test"), 2, 77.5)
        journal.note(Line(written[0].id, progress=Progress({"b@y.test": tried}, held=True)))
        journal.note(Line(written[0].id, done=True))
        self.lines = journal.take()

    def seeds(self) -> list[bytes]:
        octets = self.good[:_HEAD] + self.good[PAGE:].rstrip(b"\0")
        unsealed = octets[: record.SEALED_AT] + bytes(8) + octets[record.SEALED_AT + 8 :]
        made = [bytes([kind]) + one for kind in (_SEGMENT, _SEGMENT_FIXED) for one in (octets, unsealed)]
        return made + [bytes([kind]) + self.lines for kind in (_JOURNAL, _JOURNAL_FIXED)]

    def make(self, octets: bytes) -> None:
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_file() and path.name != "lock":
                path.unlink()
        self.large.write_bytes(b"y" * 30)
        kind, octets = (octets[0] & 3 if octets else 0), octets[1:]
        if kind in (_JOURNAL, _JOURNAL_FIXED):
            self.path.write_bytes(self.good)
            self.journal.write_bytes(_fixed_lines(octets) if kind == _JOURNAL_FIXED else octets)
            return
        log = (
            bytearray(octets[:_HEAD].ljust(PAGE, b"\0") + octets[_HEAD:]) if len(octets) > _HEAD else bytearray(octets)
        )
        if kind == _SEGMENT_FIXED:
            _fix(log)
        self.path.write_bytes(log)

    def octets(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def given_out(self) -> dict[str, bytes | None]:
        """All mail of the segment, None for what is refused. Raises CorruptSpoolError for no segment."""
        segment = _Segment(self.path)
        found: dict[str, bytes | None] = {}
        try:
            segment.read_journal()
            while messages := segment.read_on(2):
                for message in messages:
                    message.rest()
                    try:
                        text = message.read()
                    except CorruptSpoolError:
                        found.setdefault(message.id, None)
                    else:
                        found[message.id] = text
            assert segment.read_up
        finally:
            segment.close()
        return found


def _fix(log: bytearray) -> None:
    """Makes the CRCs right, so that what is behind them is reached."""
    if len(log) < PAGE:
        return
    struct.pack_into("<I", log, 24, zlib.crc32(log[:24]))
    at = -1
    while (at := log.find(b"PSTN", at + 1)) >= 0:
        if at < PAGE or at + RECORD_HEAD > len(log):
            continue
        described, inline = struct.unpack_from("<II", log, at + 16)
        end = at + RECORD_HEAD + described
        if end + inline <= len(log):
            struct.pack_into("<I", log, at + 32, zlib.crc32(log[end : end + inline]))
            struct.pack_into("<I", log, at + 40, zlib.crc32(log[at + RECORD_HEAD : end], zlib.crc32(log[at : at + 40])))


def _fixed_lines(octets: bytes) -> bytes:
    return b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in (line[9:] for line in octets.split(b"\n")))


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """In memory, where the system has such a folder: thousands of spools, and none of them is real."""
    memory = Path("/dev/shm")
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder, capture_logs():
        yield Ground(Path(folder))


def trial(ground: Ground, octets: bytes) -> None:
    ground.make(octets)
    before = ground.octets()
    report = check(ground.root)
    assert ground.octets() == before, "a check changes nothing"
    try:
        with suppress(CorruptSpoolError):
            large_texts(ground.path)
        recover(ground.path)
        found = ground.given_out()
    except CorruptSpoolError:
        assert any(fault.at == 0 for fault in report.faults), "the check says so too"
        found = {}
    repair(ground.root)
    again = [fault for fault in check(ground.root).faults if "journal is lost" not in fault.reason]
    assert again == [], "a repair leaves nothing to repair"
    after = ground.given_out() if ground.path.exists() else {}
    assert None not in after.values(), "what is damaged is set aside"
    for message_id, text in found.items():
        assert text is None or after[message_id] == text, "what was mail before a repair is mail after it"


def test_octets(ground: Ground) -> None:
    here = Path(postane.spool.__file__).parent
    files = [here / f"{name}.py" for name in ("record", "scan", "segment", "journal", "view", "check", "repair")]
    id_ = ground.large.name.encode()
    words = [
        record.mark(SERIAL), b"PSTN\1\0\0\0", record.word(0), record.word(1), record.word(PAGE), record.word(2**47),
        record.word(PAGE + 300), bytes(8), b"\xff" * 8, bytes(40), b"\n", b'"', b"{", b"}", b"null", b"[]", b"-1",
        b"1e999", b'"done":true', b'"progress":{}', b'"held":true', b'"id":"', b"../../x", b"\\u0000", b"\\ud800",
        b"\xff", b"0" * 8 + b" ", id_, id_[:-1] + b"X", b'"recipients":[]', b'"received_at":', b'"kind":"remote"',
        b"[" * 200, b"PSTNSEG\n",
    ]  # fmt: skip
    done = fuzz(
        lambda octets: trial(ground, octets), ground.seeds(), words=words, files=files, seconds=SECONDS, seed=SEED
    )
    print(f"\n{done} (seed {SEED})")
