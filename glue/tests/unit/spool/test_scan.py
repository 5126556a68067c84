"""From record to record, past what does not check out, and never to a place that somebody planted."""

from __future__ import annotations

import zlib

from postane.spool import record
from postane.spool.record import PAGE, Record
from postane.spool.scan import Gap, first_serial, log_end, next_record, walk
from support.spool import SERIAL, envelope


def packed(message_id: str, text: bytes, serial: int = SERIAL) -> bytes:
    return record.pack_record(serial, envelope(message_id), (len(text), record.crc([text]))) + text


def log_of(*pieces: bytes) -> tuple[bytes, list[int]]:
    """A log of these pieces, and where each begins; the last offset is where zeros begin."""
    log = record.pack_segment(SERIAL)
    places = [PAGE]
    for piece in pieces:
        log += piece
        places.append(len(log))
    return log + bytes(500), places


def found(log: bytes, trusted: int) -> list[str | tuple[int, int, str]]:
    """Ids of records, and the gaps: where, up to where, and whose text it is."""
    return [
        one.envelope.id if isinstance(one, Record) else (one.at, one.end, one.found.envelope.id if one.found else "")
        for one in walk(log, SERIAL, len(log), trusted)
    ]


def test_sound_log() -> None:
    log, places = log_of(packed("A", b"one"), packed("B", b""), packed("C", b"three"))
    assert found(log, 0) == ["A", "B", "C", (places[3], len(log), "")]
    assert log_end(log, SERIAL) == places[3]


def test_damaged_head_and_damaged_text() -> None:
    one, two, three = packed("A", b"one"), bytearray(packed("B", b"two")), bytearray(packed("C", b"three"))
    two[0] ^= 1
    three[-1] ^= 1
    log, places = log_of(one, bytes(two), bytes(three), packed("D", b"four"))
    end = (places[4], len(log), "")
    assert found(log, 0) == ["A", (places[1], places[2], ""), (places[2], places[3], "C"), "D", end]
    assert found(log, len(log)) == ["A", (places[1], places[2], ""), "C", "D", end], "its reader checks a trusted text"
    assert next_record(log, places[1], len(log), SERIAL) == places[2]
    assert next_record(log, places[1], len(log), SERIAL, whole=True) == places[3]
    assert next_record(log, places[1], places[3], SERIAL, whole=True) == places[3]
    assert next_record(log, places[3] + 1, places[4], SERIAL) == places[4]


def test_record_in_a_text_is_no_record() -> None:
    """A mail may bear records of any serial number but the segment's; a sound record is passed by its length anyway."""
    planted = packed("EVIL", b"x", SERIAL ^ 1)
    damaged = bytearray(packed("A", planted * 3))
    damaged[4] ^= 1
    log, _ = log_of(bytes(damaged), packed("B", packed("INNER", b"x")), packed("C", b"three"))
    assert [one for one in found(log, 0) if isinstance(one, str)] == ["B", "C"]


def test_marks_that_are_no_records() -> None:
    """The mark alone, a head that promises more than there is, a record that ends behind the end."""
    huge = record.pack_record(SERIAL, envelope("H"), (1 << 31, 0))
    log, places = log_of(record.mark(SERIAL) * 20, huge, packed("A", b"one"))
    assert found(log, 0) == [(PAGE, places[2], ""), "A", (places[3], len(log), "")]
    cut = log[: places[3] - 1]
    assert list(walk(cut, SERIAL, len(cut), 0)) == [Gap(PAGE, len(cut))]


def test_log_that_is_shorter_than_its_mark() -> None:
    log, places = log_of(packed("A", b"one"), packed("B", b"two"))
    cut = log[: places[2] - 1]
    assert list(walk(cut, SERIAL, places[2] + 100, 0))[1] == Gap(places[1], places[2] + 100)


def test_first_serial() -> None:
    bad = bytearray(packed("A", b"one"))
    bad[-1] ^= 1
    assert first_serial(log_of(bytes(bad), packed("B", b"two"))[0]) == SERIAL
    assert first_serial(log_of(bytes(bad))[0]) is None
    assert first_serial(log_of(b"PSTN\1\0\0\0")[0][: PAGE + 10]) is None
    assert first_serial(b"") is None


def test_envelope_that_is_none() -> None:
    """Its CRC fits, but it was written by a version to come, or by nobody: it is passed over."""
    good = packed("A", b"one")
    for described in (b"{}", b"[]", b'{"id":"A\xff"}', b'{"id":' + b"[" * 100_000, b"", b"\0"):
        head = good[:16] + len(described).to_bytes(4, "little") + good[20:40]
        crc = zlib.crc32(described, zlib.crc32(head)).to_bytes(4, "little")
        log, places = log_of(head + crc + described + b"one", packed("B", b"two"))
        assert found(log, 0)[:2] == [(PAGE, places[1], ""), "B"]
