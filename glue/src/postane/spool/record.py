"""The octets of the spool: the header of a segment and the record of a message. Pure; see docs/reference/spool.md.

A segment is a file of fixed size: one page of header, then records back to back, then zeros or, in a used-again file,
records of an earlier life, which the segment's serial number tells apart. A record is

    magic 4 · format 1 · reserved 3 · serial 8 · envelope length 4 · inline length 4 · file length 8
    · inline CRC 4 · file CRC 4 · head CRC 4

followed by the envelope (JSON) and the inline text. The text of a message is the inline text and, for a large message,
the file named by the message id behind it (its length is 0 where there is none). `head CRC` covers the header before
it and the envelope. All numbers are little-endian; the CRC is CRC-32 (zlib). Where no record checks out and none
follows that does, the log ends: what stands there was being written when the machine stopped (see `scan`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from postane.core.envelope import Envelope
from postane.core.errors import CorruptSpoolError

FORMAT = 1  # of a record
SEGMENT_FORMAT = 2  # of a header; 1, which had no checks, is read and is written no more

PAGE = 4096
_SEGMENT = struct.Struct("<8sHxx4xQ")  # magic, format, serial; then their CRC, then at fixed offsets words that change:
_SEGMENT_MAGIC = b"PSTNSEG\n"
DURABLE_AT = 64  # every record before this offset is synced
SEALED_AT = 72  # 1 once nothing more is written
TRUSTED_AT = 80  # set by recovery: DURABLE as the dead writer left it; a record behind it may never have been whole
JOURNALED_AT = 88  # 1 once the segment's journal has its name on the disk
_WORD = struct.Struct("<Q")
_VALUE = (1 << 48) - 1  # the 16 bits above are the check

_RECORD = struct.Struct("<4sB3xQIIQII")
_CRC = struct.Struct("<I")
_RECORD_MAGIC = b"PSTN"
RECORD_HEAD = _RECORD.size + _CRC.size

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


@dataclass(slots=True)
class Record:
    """A record found in a segment: inline text from `text_at` to `end`, then `file_length` octets in a file."""

    envelope: Envelope
    text_at: int
    end: int
    text_crc: int
    file_length: int
    file_crc: int

    @property
    def size(self) -> int:
        """Octets of the message."""
        return self.end - self.text_at + self.file_length


def pack_segment(serial: int) -> bytes:
    """The header page of a new segment: nothing durable, not sealed."""
    page = bytearray(PAGE)
    _SEGMENT.pack_into(page, 0, _SEGMENT_MAGIC, SEGMENT_FORMAT, serial)
    _CRC.pack_into(page, _SEGMENT.size, zlib.crc32(page[: _SEGMENT.size]))
    page[DURABLE_AT : DURABLE_AT + 8] = word(PAGE)
    return bytes(page)


def segment_serial(page: bytes | memoryview, name: str) -> int:
    """The serial number from a header page. Raises CorruptSpoolError that names the file."""
    if len(page) < PAGE:
        raise CorruptSpoolError(f"{name}: the segment is shorter than its header")
    magic, version, serial = _SEGMENT.unpack_from(page)
    if magic != _SEGMENT_MAGIC:
        raise CorruptSpoolError(f"{name}: not a spool segment")
    if version not in (1, SEGMENT_FORMAT):
        raise CorruptSpoolError(f"{name}: segment format {version} is not known to this version")
    if version != 1 and _CRC.unpack_from(page, _SEGMENT.size)[0] != zlib.crc32(page[: _SEGMENT.size]):
        raise CorruptSpoolError(f"{name}: the header of the segment does not check out")
    return int(serial)


def word(value: int) -> bytes:
    """A word of the header page, below 2^48, with its check: it is written alone, in one store."""
    return _WORD.pack(value | _check(value) << 48)


def read_word(page: bytes | memoryview, at: int) -> int:
    """The value of a word of the header that `page` begins with; -1 where none was written or it does not check out."""
    (raw,) = _WORD.unpack_from(page, at)
    value = int(raw) & _VALUE
    if raw >> 48 == _check(value):
        return value
    return value if 0 < raw == value and _SEGMENT.unpack_from(page)[1] == 1 else -1


def _check(value: int) -> int:
    return zlib.crc32(_WORD.pack(value)) & 0xFFFF


def crc(blocks: Iterable[bytes | bytearray | memoryview]) -> int:
    value = 0
    for block in blocks:
        value = zlib.crc32(block, value)
    return value


def pack_record(serial: int, envelope: Envelope, inline: tuple[int, int], file: tuple[int, int] = (0, 0)) -> bytes:
    """Header and envelope of a record; the inline text follows it in the log. Both parts are (length, CRC)."""
    described = _encode(envelope)
    head = _RECORD.pack(_RECORD_MAGIC, FORMAT, serial, len(described), inline[0], file[0], inline[1], file[1])
    return b"".join((head, _CRC.pack(zlib.crc32(described, zlib.crc32(head))), described))


def read_record(log: memoryview | bytes, at: int, serial: int) -> Record | None:
    """The record at `at`, None if there is none that checks out (end of the log, torn, or of an earlier life).

    The text's own CRC is not checked here: see `text_ok`.
    """
    if at + RECORD_HEAD > len(log):
        return None
    magic, version, own, described, inline, file_length, text_crc, file_crc = _RECORD.unpack_from(log, at)
    if magic != _RECORD_MAGIC or version != FORMAT or own != serial:
        return None
    text_at = at + RECORD_HEAD + described
    end = text_at + inline
    if end > len(log):
        return None
    (head_crc,) = _CRC.unpack_from(log, at + _RECORD.size)
    json = log[at + RECORD_HEAD : text_at]
    if zlib.crc32(json, zlib.crc32(log[at : at + _RECORD.size])) != head_crc:
        return None
    try:
        envelope = _decode(json)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: of no UTF-8
        return None
    return Record(envelope, text_at, end, text_crc, file_length, file_crc)


def mark(serial: int) -> bytes:
    """How each record of this segment begins."""
    return _RECORD.pack(_RECORD_MAGIC, FORMAT, serial, 0, 0, 0, 0, 0)[:16]


def own_serial(log: memoryview | bytes, at: int) -> int:
    """The serial number that a record bears, unchecked; 0 where the octets end before it."""
    return int(_WORD.unpack_from(log, at + 8)[0]) if at + 16 <= len(log) else 0


def text_ok(log: memoryview | bytes, record: Record) -> bool:
    """True if the inline text is what was written; a file is checked when it is read."""
    return zlib.crc32(log[record.text_at : record.end]) == record.text_crc
