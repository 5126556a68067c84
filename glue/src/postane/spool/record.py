"""The octets of the spool: the header of a segment and the record of a message. Pure; see docs/reference/spool.md.

A segment is a file of fixed size: one page of header, then records back to back, then zeros or, in a used-again file,
records of an earlier life, which the segment's serial number tells apart. A record is

    magic 4 · format 1 · reserved 3 · serial 8 · envelope length 4 · inline length 4 · file length 8
    · inline CRC 4 · file CRC 4 · head CRC 4

followed by the envelope (JSON) and the inline text. The text of a message is the inline text and, for a large message,
the file named by the message id behind it (its length is 0 where there is none). `head CRC` covers the header before
it and the envelope. All numbers are little-endian; the CRC is CRC-32 (zlib). A record that does not check out ends
the log: it was being written when the machine stopped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from postane.core.envelope import Envelope
from postane.core.errors import CorruptSpoolError

FORMAT = 1

PAGE = 4096
_SEGMENT = struct.Struct("<8sHxx4xQ")  # magic, format, serial; then at fixed offsets what changes:
_SEGMENT_MAGIC = b"PSTNSEG\n"
DURABLE_AT = 64  # u64: every record before this offset is synced
SEALED_AT = 72  # u64: 1 once nothing more is written
_WORD = struct.Struct("<Q")

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
    _SEGMENT.pack_into(page, 0, _SEGMENT_MAGIC, FORMAT, serial)
    _WORD.pack_into(page, DURABLE_AT, PAGE)
    return bytes(page)


def segment_serial(page: bytes | memoryview, name: str) -> int:
    """The serial number from a header page. Raises CorruptSpoolError that names the file."""
    if len(page) < PAGE:
        raise CorruptSpoolError(f"{name}: the segment is shorter than its header")
    magic, version, serial = _SEGMENT.unpack_from(page)
    if magic != _SEGMENT_MAGIC:
        raise CorruptSpoolError(f"{name}: not a spool segment")
    if version != FORMAT:
        raise CorruptSpoolError(f"{name}: segment format {version} is not known to this version")
    return int(serial)


def word(value: int) -> bytes:
    return _WORD.pack(value)


def read_word(page: bytes | memoryview, at: int) -> int:
    return int(_WORD.unpack_from(page, at)[0])


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
    except msgspec.DecodeError:
        return None
    return Record(envelope, text_at, end, text_crc, file_length, file_crc)


def text_ok(log: memoryview | bytes, record: Record) -> bool:
    """True if the inline text is what was written; a file is checked when it is read."""
    return zlib.crc32(log[record.text_at : record.end]) == record.text_crc
