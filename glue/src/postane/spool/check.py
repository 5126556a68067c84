"""Verifying the whole spool: each header, record, text, large file and journal line, and what else lies there.

Only reads, also while the daemon runs. What is being written, retired or unlinked at this moment may look like a
fault: where a living process holds a part of the spool a fault counts only if it is seen twice. `repair` does the
same walk with a `Mender` that acts on what is found; without one `remedy` says what it would do.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from postane.core.errors import CorruptSpoolError, NotFoundError
from postane.spool import journal, record, scan
from postane.spool.findings import DAMAGED, Fault, Mender, Report, Segment, Stretch, piece_name
from postane.spool.record import Record
from postane.spool.segment import FREE_SUFFIX, SUFFIX, octets
from postane.spool.view import IN_FLIGHT, JOURNAL_SUFFIX
from postane.spool.writer import LARGE, WAKE

HALF_MADE = (f"new{FREE_SUFFIX}.tmp", ".new")  # a segment and a file of ours that were never finished
LOCK = "lock"
_OURS = (SUFFIX, FREE_SUFFIX, JOURNAL_SUFFIX, ".tmp", ".new")
_AGAIN = 0.3  # seconds until a living spool is looked at for the second time
_READ = 1 << 20

_Lines = list[tuple[int, int, journal.Line | None]]


def check(root: Path) -> Report:
    """Verifies the spool in `root` and changes nothing. Raises NotFoundError where there is none, and OSError."""
    if not root.is_dir():
        raise NotFoundError(f"{root}: there is no spool")
    report = Walk(root).run()
    if not report.faults or not (report.held or is_held(root)):
        return report
    time.sleep(_AGAIN)
    again = Walk(root).run()
    seen = set(report.faults)
    again.faults = [fault for fault in again.faults if fault in seen]
    return again


def is_held(folder: Path) -> bool:
    """True while a living process holds the folder's lock. Takes it for an instant, shared, where nobody has it."""
    try:
        fd = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class Walk:
    """One walk over a spool. `held` are folders that are not to be mended; without a mender it looks for itself."""

    def __init__(self, root: Path, mender: Mender | None = None, held: frozenset[Path] = frozenset()) -> None:
        self._root = root
        self._mender = mender
        self._held = held
        self._queue_lives = mender is None and is_held(root)
        self._report = Report()
        self._seen: dict[str, str] = {}  # message id → its segment
        self._unread = False  # a page of the segment at hand cannot be read

    def run(self) -> Report:
        for path in sorted(self._root.iterdir()):
            if path.is_dir() and path.name[:1] == "w" and path.name[1:].isdigit():
                self._folder(path)
            elif path.name == DAMAGED:
                if count := sum(1 for _ in path.iterdir()):
                    self._note(path, None, f"{count} pieces that an earlier repair set aside")
            elif path.name not in (IN_FLIGHT, f"{IN_FLIGHT}.new", WAKE, LOCK):
                self._note(path, None, "is nothing of the spool's")
        return self._report

    def _fault(self, path: Path, at: int | None, reason: str, remedy: str = "", message: str = "") -> None:
        mends = self._mender is not None and path.parent not in self._held and remedy != ""
        self._report.faults.append(Fault(self._name(path), at, message, reason, remedy, mends))

    def _note(self, path: Path, at: int | None, reason: str, remedy: str = "", message: str = "") -> None:
        self._report.notes.append(Fault(self._name(path), at, message, reason, remedy))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))

    # -- a worker's folder ----------------------------------------------------------------------------------------

    def _folder(self, folder: Path) -> None:
        report = self._report
        report.folders += 1
        held = folder in self._held or (self._mender is None and is_held(folder))
        if held:
            report.held.append(folder.name)
        mender = None if held else self._mender
        named: set[str] = set()
        before = len(report.faults)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            report.segments += 1
            try:
                found = self._segment(path, self._octets(path), held, named)
                if mender is not None and (found.rewrite or found.lines or found.serial is None):
                    mender.segment(found)
            except FileNotFoundError:
                report.segments -= 1  # it was spent meanwhile
        damaged = len(report.faults) > before
        for path in sorted(folder.iterdir()):
            if path.suffix == JOURNAL_SUFFIX and not path.with_suffix(SUFFIX).exists():
                self._lost_journal(path, mender)
            elif path.name.endswith(HALF_MADE) and not held:
                self._note(path, None, "was being made when its process ended; holds no mail", "removed")
                if mender is not None:
                    mender.half_made(path)
            elif path.suffix not in _OURS and path.name not in (LARGE, LOCK):
                self._note(path, None, "is nothing of the spool's")
        if not held and (folder / LARGE).is_dir():
            self._texts(folder, named, mender, damaged=damaged)

    def _texts(self, folder: Path, named: set[str], mender: Mender | None, *, damaged: bool) -> None:
        """Large texts that no record names. Beside damage they may belong to mail: then no worker removes them."""
        for path in sorted((folder / LARGE).iterdir()):
            if path.name in named:
                continue
            if not damaged:
                self._note(path, None, "a text that never became mail", "removed when a worker takes the folder")
                continue
            aside = f"{folder.name}-{path.name}.text"
            self._note(path, None, "the record that names this text is damaged", f"moved to {DAMAGED}/{aside}")
            if mender is not None:
                mender.text(path, aside)

    def _lost_journal(self, path: Path, mender: Mender | None) -> None:
        """A journal without a segment."""
        try:
            waiting = journal.waiting(line for _, _, line in journal.parse(path.read_bytes()) if line is not None)
        except FileNotFoundError:
            return
        for message in sorted(waiting):
            reason = "the segment is gone, and by its journal the message still waited"
            self._fault(path, None, reason, f"journal moved to {DAMAGED}/{piece_name(path, 0)}", message)
        if not waiting:
            self._note(path, None, "all its messages were done and its segment is given back", "removed")
        if mender is not None:
            mender.lost_journal(path, keep=bool(waiting))

    # -- a segment ------------------------------------------------------------------------------------------------

    def _octets(self, path: Path) -> bytes:
        """A segment's octets; pages that the disk does not give are told, and zeros."""
        bad: list[tuple[int, str]] = []
        with path.open("rb") as file:
            log = octets(file.fileno(), path.name, bad=bad)
        for at, reason in bad:
            self._fault(path, at, f"a page cannot be read: {reason}", "made anew without it")
        self._unread = bool(bad)
        return log

    def _segment(self, path: Path, log: bytes, held: bool, named: set[str]) -> Segment:
        found = Segment(path, log, rewrite=self._unread)
        with memoryview(log) as view:
            try:
                found.serial = record.segment_serial(view, path.name)
            except CorruptSpoolError as error:
                found.rewrite = True
                found.serial = scan.first_serial(log)
                remedy = "made anew from its records"
                if found.serial is None:
                    remedy = f"moved to {DAMAGED}/{piece_name(path, 0)}"
                self._fault(path, 0, str(error).partition(": ")[2], remedy)
                if found.serial is None:
                    return found
                end, trusted, tail = len(log), 0, True
            else:
                end, trusted, tail = self._ends(found, view, held)
            # The journal after the segment: what is done has a line by now, if its large text is gone.
            lines = self._journal(found, view)
            over = {line.message_id for _, _, line in lines if line is not None and line.done}
            at = record.PAGE
            ids: set[str] = set()
            for one in scan.walk(log, found.serial, end, trusted):
                if isinstance(one, Record):
                    self._record(found, view, at, one, one.envelope.id in over, named)
                    ids.add(one.envelope.id)
                    at = one.end
                    continue
                at = one.end
                if one.found is not None:
                    ids.add(one.found.envelope.id)
                    named.add(one.found.envelope.id)
                self._gap(found, one, trusted, last=tail and one.end == end)
            self._strays(found, ids, lines)
        return found

    def _ends(self, found: Segment, view: memoryview, held: bool) -> tuple[int, int, bool]:
        """How far the segment is to be read, how far it is to be trusted, and whether zeros may end it."""
        path, size = found.path, len(view)
        assert found.serial is not None
        durable = record.read_word(view, record.DURABLE_AT)
        if record.read_word(view, record.SEALED_AT) != 1:
            if held:
                return max(durable, record.PAGE), max(durable, record.PAGE), False
            reason = "is not sealed, for its worker was killed"
            self._note(path, None, reason, "sealed at the next start, behind the last record that checks out")
            return size, max(durable, record.PAGE), True
        if durable < 0:
            self._fault(path, record.DURABLE_AT, "the mark of the end does not check out", "found from the records")
            found.rewrite = True
            return size, 0, True
        if durable > size:
            self._fault(path, size, f"the file is shorter than its mark says, {durable}", "mark set anew")
            found.rewrite = True
        trusted = record.read_word(view, record.TRUSTED_AT)
        if (behind := scan.next_record(found.log, durable, size, found.serial, whole=True)) < size:
            reason = (
                "a record lies behind the end: the disk failed under it and its peer read 4xx, or the mark is wrong"
            )
            self._fault(path, behind, reason, "taken in; it may come twice")
            found.rewrite = True
            return size, durable, True
        return min(durable, size), durable if trusted < 0 else trusted, False

    def _gap(self, found: Segment, gap: scan.Gap, trusted: int, *, last: bool) -> None:
        """Octets that are no record, or a record whose text does not check out behind `trusted`."""
        message = gap.found.envelope.id if gap.found is not None else ""
        if gap.at >= trusted > 0:
            if not last:
                found.away.append(Stretch(gap.at, gap.end))  # if the segment is made anew
                self._note(
                    found.path, gap.at, f"{gap.end - gap.at} octets were never whole: no 250 was said", "", message
                )
            return
        end = gap.end
        if last and trusted:
            end = min(trusted, len(found.log))  # behind it nothing was ever safe
        elif last and found.log.find(record.mark(found.serial or 0), gap.at, end) < 0:
            return  # what is left of an earlier life, or zeros
        reason = f"{end - gap.at} octets do not check out"
        if gap.found is not None:
            reason = f"the text does not check out ({_words(gap.found)})"
        self._away(found, gap.at, end, reason, message, large=gap.found is not None and gap.found.file_length > 0)

    def _record(self, found: Segment, view: memoryview, at: int, one: Record, done: bool, named: set[str]) -> None:
        message = one.envelope.id
        large = found.path.parent / LARGE / message if one.file_length else None
        if large is not None:
            named.add(message)
        if done:
            found.kept[message] = (at, one.end)
            self._report.messages += 1
            if large is not None and large.exists():
                self._note(large, None, "the text of a message that is done", "removed with its segment", message)
            return
        reason = "" if record.text_ok(view, one) else "the text does not check out"
        if not reason and large is not None:
            reason = _large_reason(large, one)
        if not reason and message in self._seen:
            reason = f"the message is in {self._seen[message]} too"
        if reason:
            self._away(found, at, one.end, f"{reason} ({_words(one)})", message, large=large is not None)
            return
        self._seen[message] = self._name(found.path)
        found.kept[message] = (at, one.end)
        self._report.messages += 1
        self._report.waiting += 1
        self._report.octets += one.size

    def _away(self, found: Segment, at: int, end: int, reason: str, message: str, *, large: bool = False) -> None:
        found.rewrite = True
        found.away.append(Stretch(at, end, message if large else ""))
        self._fault(found.path, at, reason, f"moved to {DAMAGED}/{piece_name(found.path, at)}", message)

    # -- a journal ------------------------------------------------------------------------------------------------

    def _journal(self, found: Segment, view: memoryview) -> _Lines:
        path = found.path.with_suffix(JOURNAL_SUFFIX)
        try:
            lines = list(journal.parse(path.read_bytes()))
        except FileNotFoundError:
            if record.read_word(view, record.JOURNALED_AT) == 1 and found.path.exists():
                self._fault(
                    path, None, "the journal is lost: what was delivered of its segment will be delivered again"
                )
            return []
        except OSError as error:
            reason = f"the journal cannot be read, {error.strerror}: what was delivered will be delivered again"
            self._fault(path, None, reason)
            return []
        good = max((number for number, (_, _, line) in enumerate(lines) if line is not None), default=-1)
        for at, end, line in lines[: good + 1]:
            if line is None:
                found.lines.append(Stretch(at, end))
                remedy = f"moved to {DAMAGED}/{piece_name(path, at)}"
                self._fault(path, at, "a line does not check out: what it said may happen again", remedy)
        if good + 1 < len(lines) and not self._queue_lives:
            reason = "the end does not check out: it was being written when the queue ended"
            self._note(path, lines[good + 1][0], reason, "cut off at the next start")
        return lines

    def _strays(self, found: Segment, ids: set[str], lines: _Lines) -> None:
        """Lines of the journal for messages that no record names, and those of messages that are set aside."""
        path = found.path.with_suffix(JOURNAL_SUFFIX)
        for at, end, line in lines:
            if line is None or line.message_id in found.kept:
                continue
            found.lines.append(Stretch(at, end))
            if line.message_id not in ids:
                remedy = f"moved to {DAMAGED}/{piece_name(path, at)}"
                self._fault(path, at, "a line is about a message that is not in the segment", remedy, line.message_id)


def _large_reason(path: Path, one: Record) -> str:
    """Why the large text is not what was written; "" if it is."""
    try:
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length != one.file_length:
                return f"{LARGE}/{path.name} has {length} octets instead of {one.file_length}"
            if record.crc(iter(lambda: file.read(_READ), b"")) != one.file_crc:
                return f"{LARGE}/{path.name} does not check out"
    except FileNotFoundError:
        return f"{LARGE}/{path.name} is missing"
    except OSError as error:
        return f"{LARGE}/{path.name} cannot be read: {error.strerror}"
    return ""


def _words(one: Record) -> str:
    envelope = one.envelope
    return f"from {envelope.sender or '<>'} to {', '.join(recipient.address for recipient in envelope.recipients)}"
