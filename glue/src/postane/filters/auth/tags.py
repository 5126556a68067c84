"""Tag lists, `name=value; name=value`: the form of signatures and of key records (RFC 6376 section 3.2)."""

from __future__ import annotations

import base64
import binascii
import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACE = " \t\r\n"
_SPACES = re.compile(r"[ \t\r\n]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


class TagError(ValueError):
    """Text that is no tag list, or a value that is not what its tag wants."""


def parse(octets: bytes) -> dict[str, str]:
    """Tags in the order they stand, values without the white space around them.

    Raises TagError; a tag that stands twice makes the whole list invalid.
    """
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise TagError("neither ASCII nor UTF-8") from error
    if _CONTROL.search(text):
        raise TagError("control characters")
    parts = text.split(";")
    if not parts[-1].strip(_SPACE):
        parts.pop()
    tags: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_SPACE)
        if not equals or not _NAME.fullmatch(name):
            raise TagError("not a list of name=value")
        if name in tags:
            raise TagError(f"{name}= stands twice")
        tags[name] = value.strip(_SPACE)
    return tags


def packed(value: str) -> str:
    """A value without the white space that folding put into it."""
    return _SPACES.sub("", value)


def names(value: str) -> tuple[str, ...]:
    """A list with colons, in lower case."""
    return tuple(packed(value).lower().split(":"))


def number(value: str, most: int = 10**12) -> int:
    """Digits. Raises TagError; values of any length cost nothing."""
    if not re.fullmatch(r"[0-9]{1,76}", value):
        raise TagError("not a number")
    return min(int(value), most)


def octets(value: str) -> bytes:
    """Base64 with white space in it. Raises TagError."""
    text = packed(value)
    if not text or len(text) % 4 or not _BASE64.fullmatch(text):
        raise TagError("not base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TagError("not base64") from error


def without_value(value: bytes, name: bytes) -> bytes:
    """A tag list as it came, with nothing after the `=` of one tag (RFC 6376 section 3.7: `b=` is signed empty)."""
    parts = value.split(b";")
    for at, part in enumerate(parts):
        tag, equals, _ = part.partition(b"=")
        if equals and tag.strip(_SPACE.encode()) == name:
            parts[at] = tag + equals
    return b";".join(parts)
