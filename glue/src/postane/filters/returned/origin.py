"""Proof that a message was sent from here: a token in its header, bound to sender and day by a secret. Pure.

    X-Postane-Origin: v1.20781.5f3c09aa.0c1d2e3f405162738495a6b7

Version, day since the epoch, eight random digits, and the first 96 bits of an HMAC over these and the envelope sender.
It has no spaces and fits into a line, so that it survives being quoted, folded and encoded in a report.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterator

from postane.core.address import Address

HEADER = "X-Postane-Origin"

_DAY = 86_400  # seconds
_MAC = 24  # hexadecimal digits
_TOKEN = re.compile(rb"v1\.([0-9]{1,7})\.([0-9a-f]{8})\.([0-9a-f]{24})(?![0-9a-f])")
_MOST = 50  # tokens that are looked at in one text
_ENCODING = rb"^content-transfer-encoding:[ \t]*base64[ \t]*\r\n"
_BASE64 = re.compile(_ENCODING + rb"(?:[!-~ \t]{1,998}\r\n){0,20}\r\n", re.IGNORECASE | re.MULTILINE)
_PARTS = 10  # encoded parts that are read


class Origin:
    """Makes tokens and knows its own again for `days`."""

    def __init__(self, key: bytes, days: int) -> None:
        self._key = key
        self._days = days

    def token(self, sender: Address, now: float, random: str = "") -> str:
        """For what `sender` sends. `random` is eight hexadecimal digits."""
        day, random = int(now // _DAY), random or secrets.token_hex(4)
        return f"v1.{day}.{random}.{self._mac(sender, day, random)}"

    def proves(self, text: bytes, sender: Address, now: float) -> bool:
        """True if `text`, a part of a message, holds a valid token of the sender's."""
        today = int(now // _DAY)
        for day, random, mac in _tokens(text):
            # A host whose clock is ahead may have made it.
            recent = today - self._days <= int(day) <= today + 1
            if recent and hmac.compare_digest(self._mac(sender, int(day), random), mac):
                return True
        return False

    def _mac(self, sender: Address, day: int, random: str) -> str:
        return hmac.digest(self._key, f"v1\0{sender.key}\0{day}\0{random}".encode(), "sha256").hex()[:_MAC]


def _tokens(text: bytes) -> list[tuple[str, str, str]]:
    """Each that is there, in whatever encoding a part of the report has."""
    found: dict[tuple[str, str, str], None] = {}
    for form in _forms(text):
        for match in _TOKEN.finditer(form):
            found[match[1].decode(), match[2].decode(), match[3].decode()] = None
            if len(found) >= _MOST:
                return list(found)
    return list(found)


def _forms(text: bytes) -> Iterator[bytes]:
    """As it stands, which is how headers are returned; then as some programs encode what they quote."""
    yield text
    if b"=\r\n" in text:
        yield text.replace(b"=\r\n", b"")
    for number, match in enumerate(_BASE64.finditer(text)):
        if number == _PARTS:
            return
        end = text.find(b"\r\n--", match.end())
        block = b"".join(text[match.end() : end if end >= 0 else None].split())
        try:
            yield base64.b64decode(block[: len(block) // 4 * 4])
        except binascii.Error:
            continue
