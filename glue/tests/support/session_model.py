"""A small model of an SMTP session by the letter of RFC 5321, written beside the service and not from it.

Each method is a command; it returns the octets to say and notes the codes that must come back. The people of
support.talk exist, nobody else does.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from postane.config.model import Limits


@dataclass
class Session:
    limits: Limits
    submission: bool = False  # under TLS from the first octet, and wants a login
    codes: list[int] = field(default_factory=list)  # what must be heard, until it is taken
    closed: bool = False
    helo: bool = False
    secure: bool = False
    login: bool = False
    mail: bool = False
    recipients: int = 0
    over: int = 0
    chunks: bytes | None = None  # what BDAT brought so far
    taken: list[bytes] = field(default_factory=list)
    errors: int = 0
    guesses: int = 0
    idle: int = 0
    failed: int = 0
    messages: int = 0

    def __post_init__(self) -> None:
        self.secure = self.submission

    # -- what happens ---------------------------------------------------------------------------------------------

    def _say(self, code: int) -> None:
        self.codes.append(code)

    def _close(self, code: int) -> None:
        self._say(code)
        self.closed = True

    def _refuse(self, code: int) -> None:
        self._say(code)
        self.errors += 1
        if self.errors >= self.limits.errors:
            self._close(421)

    def _idle(self) -> None:
        self.idle += 1
        if self.idle >= self.limits.idle_commands:
            self._close(421)

    def _forget(self) -> None:
        self.mail, self.recipients, self.over, self.chunks = False, 0, 0, None

    def _end(self, text: bytes, fault: bool) -> None:
        self._forget()
        self.idle = 0
        if fault:
            self._say(550)
        else:
            self._say(250)
            self.taken.append(text)
        self.messages += 1

    # -- commands -------------------------------------------------------------------------------------------------

    def hello(self, verb: bytes) -> bytes:
        if self.helo:
            self.idle += 1
            if self.idle >= self.limits.idle_commands:
                self._close(421)
                return verb + b" client.test\r\n"
        self.helo = True
        self._forget()
        self._say(250)
        return verb + b" client.test\r\n"

    def bad_hello(self) -> bytes:
        self._refuse(501)
        return b"EHLO <x>\r\n"

    def mail_from(self, words: bytes, code: int) -> bytes:
        """`code` is what the words deserve in a session that may say MAIL."""
        if not self.helo or (self.submission and not self.login) or self.mail:
            self._refuse(503 if not self.helo or (self.mail and (self.login or not self.submission)) else 530)
        elif self.messages >= self.limits.transactions:
            self._close(421)
        elif code == 250:
            self.mail = True
            self._say(250)
        else:
            self._refuse(code)
        return b"MAIL FROM:" + words + b"\r\n"

    def rcpt_to(self, words: bytes, code: int) -> bytes:
        if not self.mail or self.chunks is not None:
            self._refuse(503)
        elif self.recipients >= self.limits.recipients:
            self.over += 1
            if self.over > 10 * self.limits.recipients:
                self._close(421)
            else:
                self._say(452)
        elif code == 250:
            self.recipients += 1
            self._say(250)
        elif code == 550:
            self._say(550)
            self.guesses += 1
            if self.guesses >= self.limits.unknown_recipients:
                self._close(421)
        else:
            self._refuse(code)
        return b"RCPT TO:" + words + b"\r\n"

    def data(self) -> tuple[bytes, bool]:
        """The command, and whether a text comes now."""
        if not self.mail or self.chunks is not None:
            self._refuse(503)
        elif not self.recipients:
            self._refuse(554)
        else:
            self._say(354)
            return b"DATA\r\n", True
        return b"DATA\r\n", False

    def text(self, lines: list[bytes]) -> bytes:
        """The text with its dots and its end."""
        text = b"".join(line + b"\r\n" for line in lines)
        self._end(text, self._faulty(text))
        return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines) + b".\r\n"

    def bdat(self, octets: bytes, last: bool) -> bytes:
        said = b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if last else b"", octets)
        if self.chunks is None and not (self.mail and self.recipients):
            if not octets and not last:
                self.idle += 1
                if self.idle >= self.limits.idle_commands:
                    self._close(421)
                    return said
            self._forget()
            self._refuse(503)
            return said
        if self.chunks is not None and not octets and not last:
            self.idle += 1
            if self.idle >= self.limits.idle_commands:
                self._close(421)
                return said
        self.chunks = (self.chunks or b"") + octets
        if last:
            self._end(self.chunks, self._faulty(self.chunks))
        else:
            self._say(250)
        return said

    def _faulty(self, text: bytes) -> bool:
        whole = text.replace(b"\r\n", b"")
        lines = text.split(b"\r\n")
        return (
            b"\r" in whole
            or b"\n" in whole
            or b"\0" in whole
            or len(text) > self.limits.message_size
            or any(len(line) > self.limits.text_line for line in lines)
        )

    def rset(self) -> bytes:
        self._forget()
        self._say(250)
        self._idle()
        return b"RSET\r\n"

    def noop(self) -> bytes:
        self._say(250)
        self._idle()
        return b"NOOP\r\n"

    def help(self) -> bytes:
        self._say(214)
        self._idle()
        return b"HELP me\r\n"

    def vrfy(self) -> bytes:
        self._say(252)
        self.errors += 1
        if self.errors >= self.limits.errors:
            self._close(421)
        return b"VRFY ayse\r\n"

    def nonsense(self, line: bytes) -> bytes:
        self._refuse(500)
        return line + b"\r\n"

    def bad_line(self, line: bytes) -> bytes:
        """A line with CR, LF or NUL inside."""
        self._close(500)
        return line + b"\r\n"

    def quit(self) -> bytes:
        self._close(221)
        return b"QUIT\r\n"

    def starttls(self) -> bytes:
        if self.secure or self.chunks is not None:
            self._refuse(503)
        else:
            self._say(220)
            self.secure, self.helo = True, False
            self._forget()
        return b"STARTTLS\r\n"

    def auth(self, *, right: bool, steps: bool) -> bytes:
        words = base64.b64encode(b"\0ayse@demo.test\0" + (b"right" if right else b"wrong"))
        said = b"AUTH PLAIN\r\n" if steps else b"AUTH PLAIN %b\r\n" % words
        if not self.submission or self.login or self.mail or not self.helo:
            self._refuse(503)
            return said
        if steps:
            self._say(334)
            said += words + b"\r\n"
        if right:
            self.login = True
            self._say(235)
        else:
            self._say(535)
            self.failed += 1
            if self.failed >= self.limits.logins:
                self._close(421)
        return said

    def auth_given_up(self) -> bytes:
        if not self.submission or self.login or self.mail or not self.helo:
            self._refuse(503)
            return b"AUTH PLAIN\r\n"
        self._say(334)
        self._refuse(501)
        return b"AUTH PLAIN\r\n*\r\n"
