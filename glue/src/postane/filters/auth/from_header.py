"""The one address that a message says it is from, or the reason why there is none.

DMARC protects what a reader sees in From. Where two programs could read it in two ways, it protects nothing; so this
parser knows the grammar of RFC 5322 section 3.4 without its obsolete forms, and refuses all the rest: several fields,
several addresses, groups, source routes, comments within the address, an `@` in an unquoted name, encoded words in
place of an address, NUL, invisible characters in the address, bare CR, lines of nothing but white space, names of the
field that only look like `From`.

A display name may hold anything that the grammar allows, an address among it: it is not the address (see shown_name).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.filters.auth.message import Field, Message

_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+")
_LOOKS_LIKE_FROM = re.compile(rb"from[\x00-\x20]*(?::|$)|from[ \t]", re.IGNORECASE)
_HIDDEN = re.compile(rb"\r[\x00-\x20]*from[\x00-\x20]*:", re.IGNORECASE)
_NOT_PRINTED = re.compile(rb"[\x00-\x20\x7f-\xff]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_JOINERS = "\u200c\u200d"  # Persian and Indic words are written with them
_MAX = 16 * 1024  # octets of the field
_DEPTH = 20  # comments within comments


class FromError(ValueError):
    """The header names no author, or more than one, or not clearly. One sentence."""


@dataclass(frozen=True, slots=True)
class Author:
    """`name` is the display name with its quotes and encoded words as they came."""

    address: Address
    name: str = ""

    @property
    def domain(self) -> str:
        """As A-labels."""
        return self.address.key_domain


def author(message: Message) -> Author:
    """Raises FromError."""
    if message.problem:
        raise FromError(message.problem)
    return parse(_only(message.fields).value)


def _only(fields: Iterable[Field]) -> Field:
    """The one From field, if nothing else could be taken for one."""
    found = []
    for field in fields:
        if field.name == b"from":
            found.append(field)
            if not field.raw[4:5] == b":":
                raise FromError("white space before the colon of From")
        elif _LOOKS_LIKE_FROM.match(field.raw) or _NOT_PRINTED.sub(b"", field.name) == b"from":
            raise FromError("a line that looks like a From field and is none")
        if b"\r" in field.raw and _HIDDEN.search(field.raw.replace(b"\r\n", b"\n")):
            raise FromError("a From field behind a bare CR")
    if not found:
        raise FromError("no From field")
    if len(found) > 1:
        raise FromError(f"{len(found)} From fields")
    return found[0]


def parse(value: bytes) -> Author:
    """The body of a From field, folded or not. Raises FromError unless it is exactly one mailbox."""
    if len(value) > _MAX:
        raise FromError(f"a From field of {len(value)} octets")
    lines = value.split(b"\r\n")
    if any(not line.strip(b" \t") for line in lines[1:]):
        raise FromError("From is folded with an empty line")  # obs-FWS, RFC 5322 section 4.2
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError as error:
        raise FromError("From is neither ASCII nor UTF-8") from error
    if _CONTROL.search(text):
        raise FromError("From has control characters")
    return _Mailbox(text).read()


class _Mailbox:
    """One pass over the text, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Author:
        self._space()
        start = self._at
        words = self._words()
        if self._peek() == "<":
            name = self._text[start : self._at].strip()
            address = self._angle()
        elif self._peek() == "@":
            if len(words) != 1:
                raise FromError("From has words before an address without <>")
            name, address = "", self._address(words[0])
        else:
            raise self._unexpected()
        self._space()
        if self._peek():
            raise self._unexpected()
        return Author(address, name)

    def _words(self) -> list[str]:
        """Atoms, quoted strings and dots up to what is none: a display name or a local part.

        What touches without space or comment between is one word: `a."b".c`.
        """
        words: list[str] = []
        gap = True
        while True:
            mark = self._peek()
            if mark == '"':
                word = self._quoted()
            elif match := _ATOM.match(self._text, self._at):
                word = match[0]
                self._at = match.end()
            elif mark == ".":
                word = mark
                self._at += 1
            else:
                return words
            if gap:
                words.append(word)
            else:
                words[-1] += word
            gap = self._space()
            if gap and self._peek() == "@":
                raise FromError("space or a comment within the address of From")

    def _angle(self) -> Address:
        self._at += 1
        inner = self._text[self._at : self._at + 1]
        if inner == "@":
            raise FromError("From has a source route")
        start = self._at
        local = self._quoted() if inner == '"' else self._dots()
        if not local:
            raise FromError("From has an empty address") if inner == ">" else self._unexpected()
        if self._at == start or self._peek() != "@":
            raise self._unexpected()
        address = self._address(local)
        if self._peek() != ">":
            raise self._unexpected()
        self._at += 1
        return address

    def _address(self, local: str) -> Address:
        """From the `@` on."""
        self._at += 1
        domain = self._dots()
        if not domain or domain.endswith("."):
            raise FromError("From has no domain name after the @")
        if "=?" in local or "=?" in domain:
            raise FromError("From has an encoded word within the address")
        if any(unicodedata.category(c) == "Cf" and c not in _JOINERS for c in local + domain):
            raise FromError("From has invisible characters within the address")
        try:
            address = Address.parse(f"{local}@{domain}")
        except AddressError as error:
            raise FromError(f"From: {error}") from error
        return address

    def _dots(self) -> str:
        start = self._at
        while self._peek() == "." or _ATOM.match(self._text, self._at):
            match = _ATOM.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1
        return self._text[start : self._at]

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        while (mark := self._peek()) != '"':
            if not mark:
                raise FromError("From has a quotation without an end")
            self._at += 2 if mark == "\\" else 1
        self._at += 1
        return self._text[start : self._at]

    def _space(self) -> bool:
        """White space and comments; True if there were any."""
        start = self._at
        depth = 0
        while True:
            mark = self._peek()
            if mark == "(":
                depth += 1
                if depth > _DEPTH:
                    raise FromError("From has comments within comments without end")
            elif not mark and depth:
                raise FromError("From has a comment without an end")
            elif mark == ")" and depth:
                depth -= 1
            elif mark == "\\" and depth:
                self._at += 1
            elif not mark or (not depth and mark not in " \t"):
                return self._at > start
            self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _unexpected(self) -> FromError:
        mark = self._peek()
        what = {
            "": "From has no address",
            ",": "From has several addresses",
            "<": "From has several addresses",
            ":": "From is a group",
            ";": "From is a group",
        }
        return FromError(what.get(mark, f"From cannot be read from {mark!r} on"))
