"""Reading a segment from record to record, past what does not check out. Pure; needs nothing but the octets.

A bad disk may spoil octets in the middle of a log. The records behind them are mail that somebody was answered 250
for: the reader looks for the next place where a record of this segment begins whose header and envelope check out.
Nobody can plant one inside a message, because it has to bear the segment's serial number, which is random.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

from postane.spool import record
from postane.spool.record import Record


@dataclass(frozen=True, slots=True)
class Gap:
    """Octets that are no record: from `at` to `end`. `found`: the record whose text alone does not check out."""

    at: int
    end: int
    found: Record | None = None


def next_record(log: mmap.mmap | bytes, at: int, end: int, serial: int, *, whole: bool = False) -> int:
    """Offset of the first record from `at` on whose head checks out; `end` if none begins before it.

    `whole`: only one whose text does too. Where it does not, at least it is known whose mail is damaged.
    """
    mark = record.mark(serial)
    with memoryview(log) as view:
        while (at := log.find(mark, at, end + len(mark) - 1)) >= 0:
            found = record.read_record(view, at, serial)
            if found is not None and (not whole or record.text_ok(view, found)):
                return at
            at += 1
    return end


def walk(log: mmap.mmap | bytes, serial: int, end: int, trusted: int) -> Iterator[Record | Gap]:
    """All that begins between the header and `end`, in order.

    Texts are checked behind `trusted`: up to there a record was whole once, and who reads the text checks it.
    Octets that cannot be read because the file is shorter than `end` are a gap.
    """
    at = record.PAGE
    with memoryview(log) as view:
        while at < end:
            found = record.read_record(view, at, serial)
            if found is not None and (found.end <= trusted or record.text_ok(view, found)):
                yield found
                at = found.end
                continue
            after = next_record(log, at + 1 if found is None else found.end, end, serial)
            yield Gap(at, after, found)
            at = after


def first_serial(log: mmap.mmap | bytes) -> int | None:
    """The serial number of the first record that checks out whole: for a segment whose header is damaged."""
    at = record.PAGE
    with memoryview(log) as view:
        while (at := log.find(record.mark(0)[:8], at)) >= 0:
            serial = record.own_serial(view, at)
            found = record.read_record(view, at, serial)
            if found is not None and record.text_ok(view, found):
                return serial
            at += 1
    return None


def log_end(log: mmap.mmap | bytes, serial: int) -> int:
    """Where the last record that checks out ends: for a segment whose own mark of its end is damaged."""
    end = record.PAGE
    for found in walk(log, serial, len(log), 0):
        if isinstance(found, Record):
            end = found.end
    return end
