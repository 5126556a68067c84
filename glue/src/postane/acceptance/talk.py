"""Dialogues of lines: SMTP, IMAP, POP3 and ManageSieve, as much as the checks say. Blocking, for threads.

Everything said is noted in the case, passwords are not. A server that says what nobody expects raises FailedError.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from postane.acceptance.result import Case, FailedError

_MOST_LINE = 8192
_MOST_LINES = 10_000


def any_certificate() -> ssl.SSLContext:
    """See net.py for why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def plain(login: str, password: str) -> str:
    """The initial response of SASL PLAIN (RFC 4616)."""
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode("ascii")


@dataclass(frozen=True, slots=True)
class Secured:
    """What the server showed; `certificate` is DER."""

    version: str
    cipher: str
    certificate: bytes


class Talk:
    """One connection. `name` is what the server is expected to be called, for SNI. Use it in `with`."""

    def __init__(self, door: socket.socket, name: str, case: Case) -> None:
        self._socket = door
        self._name = name
        self._case = case
        self._stream = door.makefile("rb")

    def start_tls(self, context: ssl.SSLContext | None = None) -> Secured:
        """Without a context any certificate will do. Raises ssl.SSLError."""
        secured = (context or any_certificate()).wrap_socket(self._socket, server_hostname=self._name)
        self._socket, self._stream = secured, secured.makefile("rb")
        cipher = (secured.cipher() or ("?",))[0]
        self._case.note(f"{secured.version()}, {cipher}")
        return Secured(secured.version() or "?", cipher, secured.getpeercert(True) or b"")

    def say(self, text: str, shown: str = "") -> None:
        self._case.note(f"C: {shown or text}")
        self._socket.sendall(f"{text}\r\n".encode())

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def line(self) -> str:
        """Without its end. Raises FailedError at the end of the connection."""
        octets = self._stream.readline(_MOST_LINE)
        if not octets.endswith(b"\n"):
            raise FailedError("closed")
        return octets.rstrip(b"\r\n").decode("utf-8", "replace")

    def octets(self, count: int) -> bytes:
        found = self._stream.read(count)
        if len(found) < count:
            raise FailedError("closed")
        return found

    def note(self, line: str) -> None:
        self._case.note(f"S: {line}")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- SMTP ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    text: str

    @property
    def good(self) -> bool:
        return self.code < 400

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class RefusedError(FailedError):
    """A command that the server did not take."""

    def __init__(self, said: str, reply: Reply) -> None:
        super().__init__("refused", command=said, said=reply)
        self.reply = reply


class Smtp(Talk):
    """Raises RefusedError."""

    def hello(self, helo: str, security: str) -> None:
        """`security` is tls, starttls, or "" for TLS only where it is offered, as servers do."""
        if security == "tls":
            self.start_tls()
        self.ask("", 220)
        offered = self.ask(f"EHLO {helo}", 250)
        if security == "starttls" or (not security and "STARTTLS" in offered.text.upper()):
            self.ask("STARTTLS", 220)
            self.start_tls()
            self.ask(f"EHLO {helo}", 250)

    def reply(self) -> Reply:
        texts = []
        for _ in range(200):
            line = self.line()
            texts.append(line[4:])
            if line[3:4] != "-":
                self.note(f"{line[:4]}{' | '.join(texts)}")
                return Reply(int(line[:3]) if line[:3].isdigit() else 599, " ".join(texts))
        raise FailedError("said", said="a reply without end")

    def ask(self, command: str, wanted: int = 0, shown: str = "") -> Reply:
        """ "" asks nothing: the greeting. Raises RefusedError where another code than `wanted` comes."""
        if command:
            self.say(command, shown)
        reply = self.reply()
        if wanted and reply.code != wanted:
            raise RefusedError(shown or command or "-", reply)
        return reply

    def login(self, login: str, password: str) -> None:
        self.ask(f"AUTH PLAIN {plain(login, password)}", 235, "AUTH PLAIN …")

    def deliver(self, sender: str, to: str, octets: bytes) -> Reply:
        """One mail, with CRLF."""
        self.ask(f"MAIL FROM:<{sender}>", 250)
        self.ask(f"RCPT TO:<{to}>", 250)
        self.ask("DATA", 354)
        self.send(re.sub(rb"(?m)^\.", b"..", octets) + b".\r\n")
        self._case.note(f"({len(octets)} octets)")
        reply = self.reply()
        if not reply.good:
            raise RefusedError("DATA", reply)
        return reply

    def quit(self) -> None:
        self.say("QUIT")


# -- IMAP ---------------------------------------------------------------------------------------------------------

_LITERAL = re.compile(r"\{(\d+)\}$")


class Imap(Talk):
    """Raises FailedError for NO and BAD."""

    _tag = 0

    def login(self, login: str, password: str, security: str) -> None:
        """Said first; `security` is tls or starttls."""
        if security == "tls":
            self.start_tls()
        self.note(self.line())
        if security != "tls":
            self.ask("STARTTLS")
            self.start_tls()
        self.ask("AUTHENTICATE PLAIN", plain(login, password))

    def ask(self, command: str, answer: str = "") -> list[tuple[str, list[bytes]]]:
        """The untagged lines, each with its literals. `answer` is said where the server asks for more."""
        self._tag += 1
        tag = f"a{self._tag}"
        self.say(f"{tag} {command}")
        found: list[tuple[str, list[bytes]]] = []
        for _ in range(_MOST_LINES):
            line, literals = self._whole()
            if line.startswith("+") and answer:
                self.say(answer, "…")
                continue
            if line.startswith((f"{tag} ", "* BYE", "* SEARCH")) or line.endswith(" EXISTS"):
                self.note(line)
            if line.startswith(f"{tag} "):
                if not line.startswith(f"{tag} OK"):
                    raise FailedError("refused", command=command, said=line)
                return found
            found.append((line, literals))
        raise FailedError("said", said="an answer without end")

    def _whole(self) -> tuple[str, list[bytes]]:
        line, literals = self.line(), list[bytes]()
        while match := _LITERAL.search(line):
            literals.append(self.octets(int(match[1])))
            line = f"{line[: match.start()]}(…){self.line()}"
        return line, literals

    def uids(self, mailbox: str) -> list[int]:
        """Selects it, and tells who is there."""
        self.ask(f'SELECT "{mailbox}"')
        for line, _ in self.ask("UID SEARCH ALL"):
            if line.startswith("* SEARCH"):
                return [int(word) for word in line.split()[2:] if word.isdigit()]
        return []

    def message(self, uid: int) -> bytes:
        """Of the mailbox that is selected; it stays unread."""
        literals = [one for _, found in self.ask(f"UID FETCH {uid} (BODY.PEEK[])") for one in found]
        return literals[0] if literals else b""

    def empty(self, mailboxes: Sequence[str]) -> None:
        for mailbox in mailboxes:
            if self.uids(mailbox):
                self.ask(r"UID STORE 1:* +FLAGS.SILENT (\Deleted)")
                self.ask("EXPUNGE")


# -- POP3 ---------------------------------------------------------------------------------------------------------


class Pop3(Talk):
    """Raises FailedError for -ERR."""

    def login(self, login: str, password: str, security: str) -> None:
        """Said first; `security` is tls or starttls."""
        if security == "tls":
            self.start_tls()
        self._answer("-")
        if security != "tls":
            self.ask("STLS")
            self.start_tls()
        self.ask(f"AUTH PLAIN {plain(login, password)}", "AUTH PLAIN …")

    def ask(self, command: str, shown: str = "") -> str:
        self.say(command, shown)
        return self._answer(shown or command)

    def count(self) -> int:
        return int(self.ask("STAT").split()[1])

    def message(self, number: int) -> bytes:
        self.ask(f"RETR {number}")
        lines = []
        while (line := self._stream.readline()) != b".\r\n":
            if not line:
                raise FailedError("closed")
            lines.append(line[1:] if line.startswith(b"..") else line)
        return b"".join(lines)

    def _answer(self, command: str) -> str:
        line = self.line()
        self.note(line)
        if not line.startswith("+OK"):
            raise FailedError("refused", command=command, said=line)
        return line


# -- ManageSieve --------------------------------------------------------------------------------------------------


class Sieve(Talk):
    """RFC 5804. Raises FailedError for NO and BYE."""

    def login(self, login: str, password: str, _: str = "starttls") -> None:
        """Said first."""
        self._answer("-")
        self.ask("STARTTLS")
        self.start_tls()
        self._answer("-")
        self.ask(f'AUTHENTICATE "PLAIN" "{plain(login, password)}"', 'AUTHENTICATE "PLAIN" "…"')

    def ask(self, command: str, shown: str = "") -> list[str]:
        self.say(command, shown)
        return self._answer(shown or command)

    def put(self, name: str, script: str) -> None:
        octets = script.encode()
        self.say(f'PUTSCRIPT "{name}" {{{len(octets)}+}}\r\n{script}', f'PUTSCRIPT "{name}" …')
        self._answer("PUTSCRIPT")

    def _answer(self, command: str) -> list[str]:
        lines: list[str] = []
        for _ in range(_MOST_LINES):
            line = self.line()
            while match := _LITERAL.search(line):
                line = line[: match.start()] + self.octets(int(match[1])).decode("utf-8", "replace") + self.line()
            if line.startswith("OK"):
                self.note("; ".join([*lines, line]))
                return lines
            if line.startswith(("NO", "BYE")):
                self.note(line)
                raise FailedError("refused", command=command, said=line)
            lines.append(line)
        raise FailedError("said", said="an answer without end")
