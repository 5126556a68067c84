"""Command lines of SMTP, parsed into values. Pure; a CommandError carries the reply that the peer reads.

Sources: RFC 5321 section 4.1 (syntax), RFC 1870 (SIZE), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), RFC 3461 (DSN),
RFC 4954 (AUTH), RFC 3030 (BDAT).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from postane.core.address import Address
from postane.core.envelope import Notify
from postane.core.errors import AddressError
from postane.core.reply import Reply

BAD_SYNTAX = Reply(501, "5.5.4", "Syntax error in parameters")

_PARAMETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:=[\x21-\x3c\x3e-\x7e\x80-\U0010ffff]+)?")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
# Strict to the octet: who counts differently than the peer takes a message's octets for commands.
_BDAT = re.compile(r" *([0-9]{1,12})(?: +([Ll][Aa][Ss][Tt]))? *")
_HELLO = re.compile(r"[A-Za-z0-9_.\-:\[\]]{1,255}")


class CommandError(Exception):
    """A command that is refused for its form."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(slots=True)
class MailCommand:
    """MAIL FROM:<sender> with its parameters; `sender` None is the null sender. `size` 0: not declared."""

    sender: Address | None
    size: int = 0
    body_8bit: bool = False
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


@dataclass(slots=True)
class RcptCommand:
    """RCPT TO:<recipient> with its DSN parameters."""

    recipient: Address
    notify: tuple[Notify, ...] = ()
    orcpt: str = ""


def parse_hello(argument: str) -> str:
    """The name after EHLO or HELO. Checked for its letters only: a wrong name is a matter for the filters."""
    name = argument.strip()
    if not _HELLO.fullmatch(name):
        raise CommandError(Reply(501, "5.5.4", "EHLO needs a host name or an address literal"))
    return name


def parse_mail(argument: str, host: str) -> MailCommand:
    """`FROM:<path> [parameters]`."""
    path, parameters = _path(argument, "FROM:")
    command = MailCommand(_address(path, host, "5.1.7") if path else None)
    for name, value in parameters:
        if name == "SIZE" and value.isascii() and value.isdigit() and len(value) <= 20:
            command.size = int(value)
        elif name == "BODY" and value.upper() in ("7BIT", "8BITMIME"):
            command.body_8bit = value.upper() == "8BITMIME"
        elif name == "BODY" and value.upper() == "BINARYMIME":
            # RFC 3030 section 3: only where the whole way can carry it, and LMTP to a mailbox cannot.
            raise CommandError(Reply(555, "5.5.4", "BODY=BINARYMIME is not offered here"))
        elif name == "SMTPUTF8" and not value:
            command.smtputf8 = True
        elif name == "RET" and value.upper() in ("FULL", "HDRS"):
            command.ret = value.upper()
        elif name == "ENVID" and len(value) <= 100 and _XTEXT.fullmatch(value):
            command.envid = value
        elif name == "AUTH":  # RFC 4954 section 5: read for its form, trusted never
            if not value:
                raise CommandError(BAD_SYNTAX)
        elif name in ("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"):
            raise CommandError(BAD_SYNTAX)
        else:
            raise CommandError(Reply(555, "5.5.4", f"Parameter {name} is not known"))
    if command.sender is not None and not command.sender.is_ascii and not command.smtputf8:
        raise CommandError(Reply(553, "5.6.7", "A UTF-8 address needs the SMTPUTF8 parameter"))
    return command


def parse_rcpt(argument: str, host: str, *, smtputf8: bool) -> RcptCommand:
    """`TO:<path> [parameters]`."""
    path, parameters = _path(argument, "TO:")
    if not path:
        raise CommandError(Reply(501, "5.1.3", "The recipient is empty"))
    command = RcptCommand(_address(path, host, "5.1.3"))
    for name, value in parameters:
        if name == "NOTIFY" and value:
            command.notify = _notify(value)
        elif name == "ORCPT" and ";" in value and len(value) <= 500 and _XTEXT.fullmatch(value.partition(";")[2]):
            command.orcpt = value
        elif name in ("NOTIFY", "ORCPT"):
            raise CommandError(BAD_SYNTAX)
        else:
            raise CommandError(Reply(555, "5.5.4", f"Parameter {name} is not known"))
    if not command.recipient.is_ascii and not smtputf8:
        raise CommandError(Reply(553, "5.6.7", "A UTF-8 address needs the SMTPUTF8 parameter in MAIL"))
    return command


def parse_bdat(argument: str) -> tuple[int, bool]:
    """`size [LAST]` → (octets, last)."""
    if (found := _BDAT.fullmatch(argument)) is None:
        raise CommandError(BAD_SYNTAX)
    return int(found[1]), found[2] is not None


def parse_plain(response: str) -> tuple[str, str]:
    """AUTH PLAIN (RFC 4616): base64 of [authzid] NUL authcid NUL password → (login, password).

    An authorisation identity other than the login is refused: nobody acts as another here.
    """
    parts = decode_base64(response).split("\0")
    if len(parts) != 3 or not parts[1]:
        raise CommandError(Reply(501, "5.5.2", "The PLAIN response is malformed"))
    identity, login, password = parts
    if identity and identity != login:
        raise CommandError(Reply(535, "5.7.8", "Authentication failed"))
    return login, password


def decode_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except ValueError as error:  # of base64, of UTF-8, or of letters that are in neither
        raise CommandError(Reply(501, "5.5.2", "That is not base64 of UTF-8 text")) from error


def _path(argument: str, keyword: str) -> tuple[str, list[tuple[str, str]]]:
    """Splits `FROM:<path> A=1 B` into the path and its parameters, names in upper case."""
    start = len(keyword)
    if argument[: start + 1].upper() == keyword + "<":
        rest = argument[start:]
    else:
        rest = argument[start:].lstrip(" ")  # a space after the colon is not in the standard, but common
        if argument[:start].upper() != keyword or not rest.startswith("<"):
            raise CommandError(Reply(501, "5.5.4", f"Syntax: {keyword}<address>"))
    end = _closing(rest)
    path, tail = rest[1:end], rest[end + 1 :]
    if path.startswith("@"):  # a source route: accepted and ignored, RFC 5321 appendix C
        path = path.partition(":")[2]
        if not path:
            raise CommandError(Reply(501, "5.5.4", f"Syntax: {keyword}<address>"))
    if not tail:
        return path, []
    if not tail.startswith(" "):
        raise CommandError(BAD_SYNTAX)
    parameters = []
    seen = set()
    for word in tail.split():
        name, _, value = word.partition("=")
        name = name.upper()
        if name in seen or not _PARAMETER.fullmatch(word):
            raise CommandError(BAD_SYNTAX)
        seen.add(name)
        parameters.append((name, value))
    return path, parameters


def _closing(text: str) -> int:
    """Index of the `>` that ends the path; one inside a quoted local part does not."""
    if '"' not in text:
        end = text.find(">")
    else:
        end, quoted, index = -1, False, 1
        while index < len(text):
            char = text[index]
            if quoted and char == "\\":
                index += 1
            elif char == '"':
                quoted = not quoted
            elif char == ">" and not quoted:
                end = index
                break
            index += 1
    if end < 0:
        raise CommandError(Reply(501, "5.5.4", "The address has no closing >"))
    return end


def _address(path: str, host: str, enhanced: str) -> Address:
    if path.lower() == "postmaster":  # RFC 5321 section 4.5.1: the one address without a domain
        path = f"postmaster@{host}"
    try:
        return Address.parse(path)
    except AddressError as error:
        raise CommandError(Reply(501 if enhanced == "5.1.3" else 553, enhanced, f"Bad address: {error}")) from error


def _notify(value: str) -> tuple[Notify, ...]:
    try:
        words = tuple(Notify(word) for word in value.upper().split(","))
    except ValueError as error:
        raise CommandError(BAD_SYNTAX) from error
    if Notify.NEVER in words and len(words) > 1:
        raise CommandError(BAD_SYNTAX)
    return words
