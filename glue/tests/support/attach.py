"""Messages with attachments, octet by octet, and compound files; sound ones and others."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping

from postane.filters.content.budget import Bounds, Budget
from postane.filters.content.inspect import Contents, inspect

PE = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff" + bytes(46) + struct.pack("<I", 64) + b"PE\0\0" + bytes(200)


def encoded(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def part(octets: bytes, *fields: bytes) -> bytes:
    """A part in base64 with these fields before its own."""
    return b"".join(f + b"\r\n" for f in (*fields, b"Content-Transfer-Encoding: base64")) + b"\r\n" + encoded(octets)


def named(octets: bytes, name: str) -> bytes:
    return part(octets, b'Content-Disposition: attachment; filename="%s"' % name.encode())


def multipart(
    *parts: bytes, boundary: bytes = b"frontier", head: bytes = b"Subject: x\r\nMIME-Version: 1.0\r\n"
) -> bytes:
    lead = head + b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\npreamble\r\n' % boundary
    return lead + b"".join(b"--%s\r\n%s\r\n" % (boundary, one) for one in parts) + b"--%s--\r\n" % boundary


def attached(octets: bytes, name: str) -> bytes:
    """A message of a text and an attachment."""
    return multipart(b"Content-Type: text/plain\r\n\r\nhello", named(octets, name))


def budget(**bounds: float) -> Budget:
    return Budget.of(Bounds(**bounds))  # type: ignore[arg-type]


def seen(message: bytes, **bounds: float) -> Contents:
    return inspect(message, Bounds(**bounds))  # type: ignore[arg-type]


def told(message: bytes, **bounds: float) -> dict[str, set[str]]:
    """Names, each with the kinds of the items that may have it; "" for those without."""
    found: dict[str, set[str]] = {}
    for item in seen(message, **bounds).items:
        for name in item.names or ("",):
            found.setdefault(name, set()).update(item.kinds)
    return found


def compound(streams: Mapping[str, bytes], class_id: bytes = bytes(16)) -> bytes:
    """A compound file ([MS-CFB]) with these streams in its root; those of under 4 KiB lie in the mini stream."""
    sectors: list[bytes] = []
    fat: list[int] = []

    def chain(octets: bytes) -> int:
        """Puts octets into sectors of their own."""
        first = len(sectors)
        count = -(-len(octets) // 512)
        for at in range(count):
            sectors.append(octets[at * 512 : at * 512 + 512].ljust(512, b"\0"))
            fat.append(first + at + 1 if at + 1 < count else 0xFFFFFFFE)
        return first if count else 0xFFFFFFFE

    entries, mini_stream, mini_fat = [], b"", b""
    for name, octets in streams.items():
        if len(octets) < 4096:
            start = len(mini_stream) // 64
            count = -(-len(octets) // 64)
            mini_stream += octets.ljust(count * 64, b"\0")
            mini_fat += b"".join(
                struct.pack("<I", start + at + 1 if at + 1 < count else 0xFFFFFFFE) for at in range(count)
            )
        else:
            start = chain(octets)
        entries.append((name, 2, start, len(octets)))
    root = ("Root Entry", 5, chain(mini_stream), len(mini_stream))
    first_mini_fat = chain(mini_fat.ljust(-(-len(mini_fat) // 512) * 512, b"\xff"))
    directory = b""
    for number, (name, kind, start, size) in enumerate((root, *entries)):
        text = name.encode("utf-16-le") + b"\0\0"
        following = number + 1 if number < len(entries) else 0xFFFFFFFF  # the tree is a list
        right, child = (0xFFFFFFFF, following) if kind == 5 else (following, 0xFFFFFFFF)
        directory += text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, 0xFFFFFFFF, right, child)
        directory += (class_id if kind == 5 else bytes(16)) + bytes(20) + struct.pack("<IQ", start, size)
    first_directory = chain(directory)
    place = len(sectors)
    fat.append(0xFFFFFFFD)
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 62, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, first_directory, 0, 4096, first_mini_fat, bool(mini_fat), 0xFFFFFFFE, 0)
    head += struct.pack("<I", place) + b"\xff" * 432
    assert len(fat) <= 128
    table = b"".join(struct.pack("<I", number) for number in fat).ljust(512, b"\xff")
    return head + b"".join(sectors) + table
