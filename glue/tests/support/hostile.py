"""Mails made to hurt whoever reads them: huge, deep, wide, or small and endless when they are unpacked."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable, Iterator

MiB = 1 << 20
_LINE = b"All work and no play makes Jack a dull boy; all work and no play makes.\r\n"

Pieces = Iterator[bytes]


def _head(*more: bytes) -> bytes:
    return b"".join(
        line + b"\r\n"
        for line in (
            b"From: Somebody <somebody@far.test>",
            b"To: user0@demo.test",
            b"Subject: hostile",
            b"Date: Tue, 24 Nov 2026 12:00:00 +0000",
            b"Message-ID: <hostile@far.test>",
            b"MIME-Version: 1.0",
            *more,
        )
    )


def _encoded(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _attached(name: str, octets: bytes) -> bytes:
    return (
        _head(b'Content-Type: multipart/mixed; boundary="b"')
        + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee there\r\n--b\r\nContent-Type: application/zip; name="
        + f'"{name}"\r\nContent-Disposition: attachment; filename="{name}"\r\n'.encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + _encoded(octets)
        + b"--b--\r\n"
    )


def _zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, octets in members:
            archive.writestr(name, octets)
    return out.getvalue()


def large(size: int = 100 * MiB) -> Pieces:
    """A text of that size."""
    yield _head(b"Content-Type: text/plain") + b"\r\n"
    block = _LINE * (MiB // len(_LINE))
    for _ in range(size // len(block)):
        yield block


def zip_bomb() -> Pieces:
    """Zeros in ten members, zipped ten times over: 10 GiB in some kilobytes."""
    inner = _zipped(("0.bin", bytes(100 * MiB)))
    for level in range(2):
        inner = _zipped(*((f"{level}-{number}.zip", inner) for number in range(10)))
    yield _attached("bomb.zip", inner)


def many_files() -> Pieces:
    """An archive with 20,000 members."""
    yield _attached("many.zip", _zipped(*((f"{number}.txt", b"x") for number in range(20_000))))


def lying_zip() -> Pieces:
    """An archive that says of itself what is not so: a member of 4 GiB, a directory that is cut off."""
    octets = bytearray(_zipped(("a.exe", b"MZ" + bytes(1000)), ("b.txt", b"b" * 1000)))
    at = octets.find(b"PK\x01\x02")
    octets[at + 20 : at + 28] = b"\xff" * 8
    yield _attached("lies.zip", bytes(octets[:-10]))


def wide(parts: int = 10_000) -> Pieces:
    """A message of so many parts."""
    yield _head(b'Content-Type: multipart/mixed; boundary="b"') + b"\r\n"
    part = b'--b\r\nContent-Type: text/plain; name="x.txt"\r\nContent-Disposition: attachment\r\n\r\nx\r\n'
    yield part * parts + b"--b--\r\n"


def deep(parts: int = 10_000) -> Pieces:
    """A part in a part in a part, so many times."""
    yield _head(b'Content-Type: multipart/mixed; boundary="b0"') + b"\r\n"
    yield b"".join(
        b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (number, number + 1)
        for number in range(parts)
    )
    yield b"--b%d\r\n\r\nx\r\n" % parts
    yield b"".join(b"--b%d--\r\n" % number for number in range(parts, -1, -1))


def messages_in_messages(parts: int = 5_000) -> Pieces:
    yield _head()
    yield b"Content-Type: message/rfc822\r\n\r\n" * parts
    yield b"Content-Type: text/plain\r\n\r\nx\r\n"


def long_header(size: int = MiB) -> Pieces:
    """One field of that size, folded."""
    line = b"\t" + b"x" * 75 + b"\r\n"
    yield _head(b"X-Long: begins") + line * (size // len(line)) + b"\r\nbody\r\n"


def long_from(size: int = MiB) -> Pieces:
    """A From of that size: addresses, comments, quotes and encoded words."""
    one = b'\t=?utf-8?q?=41?= (((comment)))) "q\\"uoted" <a@far.test>,\r\n'
    yield b"From:\r\n" + one * (size // len(one)) + b"\tb@far.test\r\nSubject: x\r\n\r\nbody\r\n"


def many_headers(count: int = 100_000) -> Pieces:
    """Fields as servers on the way leave them."""
    yield b"".join(
        b"X-Received: by host%d.far.test with SMTP id %d; Tue, 24 Nov 2026 12:00:00 +0000\r\n" % (number, number)
        for number in range(count)
    )
    yield _head() + b"\r\nbody\r\n"


def many_signatures(count: int = 2_000) -> Pieces:
    """Signatures that ask for keys, seals, and results that others vouch for."""
    field = (
        b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=d%d.far.test; s=s;\r\n\th=from:subject; bh=AAAA;"
        b" b=AAAA\r\nARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=d%d.far.test; s=s; b=AAAA\r\n"
        b"Authentication-Results: mail.demo.test; dkim=pass header.d=d%d.far.test\r\n"
    )
    yield b"".join(field % (number, number, number, number) for number in range(count))
    yield _head() + b"\r\nbody\r\n"


def no_header() -> Pieces:
    yield b"\r\n" + _LINE * 100


def only_header() -> Pieces:
    """A header without an end."""
    yield _head() + b"X-A: b\r\n" * 1000


MAILS: dict[str, Callable[[], Pieces]] = {
    "large": large,
    "larger than clamd takes": lambda: large(10 * MiB),
    "zip bomb": zip_bomb,
    "many files": many_files,
    "lying zip": lying_zip,
    "wide": wide,
    "deep": deep,
    "messages in messages": messages_in_messages,
    "long header": long_header,
    "long From": long_from,
    "many headers": many_headers,
    "many signatures": many_signatures,
    "no header": no_header,
    "only header": only_header,
}
