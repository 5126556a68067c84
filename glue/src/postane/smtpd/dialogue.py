"""One SMTP session as a pure state machine: octets in, events and replies out. No I/O, no clock, no directory.

    dialogue = Dialogue(facts, limits)
    event = dialogue.next()          # Connected first
    dialogue.answer(Reply(...))      # one answer for each event that is not None
    dialogue.receive(octets)         # what the peer said
    dialogue.take_output()           # what to write: replies of a pipelined group come as one block

`next` works through what was received until a question needs an answer (it returns the event) or nothing is left
to work on (None). While a question is open `next` returns None, so an answer may take its time.

Line discipline is strict: only CRLF ends a command, only CRLF "." CRLF ends a text (smtpd.text), and what is refused
is read to its true end or the session closes; nothing of a text is ever taken for a command.

Sources: RFC 5321, RFC 2920 (PIPELINING), RFC 3030 (CHUNKING), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 2034
(enhanced codes), RFC 6409 (submission).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from postane.config.model import Limits
from postane.core.peer import Service
from postane.core.reply import Reply
from postane.smtpd import command, events
from postane.smtpd.command import CommandError
from postane.smtpd.events import Event
from postane.smtpd.text import TOO_BIG, TextReader

OK = Reply(250, "2.0.0", "OK")
GO_AHEAD = Reply(354, "", "End data with <CR><LF>.<CR><LF>")
BYE = Reply(221, "2.0.0", "Bye")
BAD_SEQUENCE = Reply(503, "5.5.1", "Bad sequence of commands")
NEED_HELLO = Reply(503, "5.5.1", "Say EHLO first")
NEED_TLS = Reply(530, "5.7.0", "Say STARTTLS first")
NEED_LOGIN = Reply(530, "5.7.0", "Authentication required")
TALKED_AHEAD = Reply(554, "5.5.0", "You talked ahead of our reply; goodbye")
LINE_TOO_LONG = Reply(500, "5.5.6", "Line too long")
BARE_LINE_END = Reply(500, "5.5.2", "Lines end with CR LF")
UNKNOWN = Reply(500, "5.5.1", "Command not known")
NO_WEB = Reply(500, "5.5.1", "This is a mail server; goodbye")
FAR_TOO_MANY = Reply(421, "4.5.3", "Far too many recipients; goodbye")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors; goodbye")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Enough for one session; come again")

# How far beyond the size limit an oversized text is read (and thrown away) to give a clean 552 before closing.
_PATIENCE = 64 * 1024 * 1024

# So many times the limit of recipients are told 452 before the session ends.
_INSISTENCE = 10


@dataclass(slots=True, frozen=True)
class Facts:
    """What stands fast for a door: the host's name and what it offers."""

    host: str
    service: Service
    tls_offered: bool = False


Sink = Callable[[bytes], None]


class Dialogue:
    """See the module text. Public facts of the session are read by the handler: `helo`, `login`, `secure`.

    The state is the function that reads next: `_greet`, `_command_line`, `_more_text` (between 354 and the dot line),
    `_more_chunk` (within the octets of a BDAT), `_login_line`, `_swallow` (an over-long line), `_nothing` (closed, or
    waiting for a TLS handshake).
    """

    __slots__ = (
        "_buffer",
        "_chunk_last",
        "_chunk_left",
        "_errors",
        "_facts",
        "_failed_logins",
        "_idle",
        "_limits",
        "_login_name",
        "_messages",
        "_out",
        "_over",
        "_pending",
        "_read",
        "_refusal",
        "_refused_recipients",
        "_text",
        "closed",
        "extended",
        "helo",
        "login",
        "mail",
        "recipients",
        "secure",
        "why_closed",
    )

    def __init__(self, facts: Facts, limits: Limits, *, secure: bool = False) -> None:
        self._facts = facts
        self._limits = limits
        self._read: _Reader = Dialogue._greet
        self.closed = False
        self._buffer = b""
        self._out: list[bytes] = []
        self._pending: Event | None = None
        self._text: TextReader | None = None
        self._chunk_left = 0
        self._chunk_last = False
        self._login_name: str | None = None
        self._errors = 0
        self._failed_logins = 0
        self._refused_recipients = 0
        self._idle = 0  # commands since the last message that bring none nearer
        self._over = 0  # recipients of this transaction beyond the limit
        self._messages = 0
        self._refusal: Reply | None = None
        self.secure = secure
        self.why_closed = ""
        self.helo = ""
        self.extended = False
        self.login = ""
        self.mail: command.MailCommand | None = None
        self.recipients = 0

    # -- the outer side -------------------------------------------------------------------------------------------

    @property
    def reads_text(self) -> bool:
        """True while a text is on its way: other time limits hold."""
        return self._read is Dialogue._more_text or self._read is Dialogue._more_chunk

    def receive(self, data: bytes) -> None:
        if self.closed:
            return
        self._buffer = self._buffer + data if self._buffer else data

    def take_output(self) -> bytes:
        out = self._out
        if not out:
            return b""
        self._out = []
        return out[0] if len(out) == 1 else b"".join(out)

    def secured(self) -> None:
        """TLS stands: the session begins anew (RFC 3207 section 4.2), the greeting is not said again.

        What is in the buffer came under TLS, with the last packet of the handshake: in clear nothing is read after
        STARTTLS (`_starttls` closes over what stands behind it, and the server reads no more until the handshake).
        """
        self._read = Dialogue._command_line
        self._pending = None
        self.secure = True
        self.helo = ""
        self.extended = False
        self._forget()

    def shut(self, reply: Reply) -> None:
        """Ends the session from our side (time-out, shutdown) with a last reply."""
        if not self.closed:
            self._close_with(reply)

    # -- the loop -------------------------------------------------------------------------------------------------

    def next(self) -> Event | None:
        if self._pending is not None:
            return None
        while (event := self._read(self)) is _GO_ON:
            pass
        return event

    def answer(self, reply: Reply, sink: Sink | None = None) -> None:
        """The handler's reply to the event that `next` returned; `sink` with an ok reply to Data."""
        event, self._pending = self._pending, None
        if self.closed:
            return
        if event is None:
            raise RuntimeError("an answer without a question")
        if type(event) is events.Data:
            self._answer_data(event, reply, sink)
        else:
            self._out.append(reply.wire())
            _ANSWERED[type(event)](self, event, reply)
        if reply.code == 421 and not self.closed:
            self._closed(reply.text)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _ask(self, event: Event) -> Event:
        self._pending = event
        return event

    def _say(self, reply: Reply) -> None:
        self._out.append(reply.wire())

    def _refuse(self, reply: Reply) -> Event | None:
        """An error of the peer's: said, counted, and one too many closes."""
        self._say(reply)
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._close_with(TOO_MANY_ERRORS)
        return _GO_ON

    def _close_with(self, reply: Reply) -> None:
        self._say(reply)
        self._closed(reply.text)

    def _idled(self) -> Event | None:
        """A command that brings no message nearer: a peer that says nothing else keeps a place that others need."""
        self._idle += 1
        return self._closing(TOO_MANY_ERRORS) if self._idle >= self._limits.idle_commands else _GO_ON

    def _closing(self, reply: Reply) -> Event:
        self._close_with(reply)
        return _GO_ON

    def _closed(self, why: str) -> None:
        self._read = Dialogue._nothing
        self.closed = True
        self._buffer = b""
        self.why_closed = why

    def _forget(self) -> None:
        self.mail = None
        self.recipients = 0
        self._over = 0
        self._text = None
        self._refusal = None

    def _greet(self) -> Event | None:
        return self._ask(events.Connected())

    def _nothing(self) -> Event | None:
        return None

    def _greeted(self, event: Event, reply: Reply) -> None:
        if not reply.ok:
            self._closed(reply.text)
        elif self._buffer:
            # Whoever talks before the greeting has not read it (RFC 5321 section 4.3.1): no client, but a script.
            self._close_with(TALKED_AHEAD)
        else:
            self._read = Dialogue._command_line

    def _answered_hello(self, event: events.Hello, reply: Reply) -> None:
        if reply.ok:
            self.helo, self.extended = event.name, event.extended
            self._forget()

    def _answered_mail(self, event: events.Mail, reply: Reply) -> None:
        if reply.ok:
            self.mail = event.command

    def _answered_rcpt(self, event: events.Rcpt, reply: Reply) -> None:
        if reply.ok:
            self.recipients += 1
        elif reply.permanent:
            self._refused_recipients += 1
            if self._refused_recipients >= self._limits.unknown_recipients:
                self._close_with(TOO_MANY_ERRORS)

    def _answered_text(self, event: events.Text, reply: Reply) -> None:
        self._forget()
        self._messages += 1
        self._idle = 0

    def _answered_login(self, event: events.Login, reply: Reply) -> None:
        if reply.ok:
            self.login = event.login
        elif reply.permanent:
            self._failed_logins += 1
            if self._failed_logins >= self._limits.logins:
                self._close_with(Reply(421, "4.7.0", "Too many failed logins; goodbye"))

    def _answer_data(self, event: events.Data, reply: Reply, sink: Sink | None) -> None:
        if not reply.ok or sink is None:
            if event.chunked:
                # The octets of a refused BDAT still come and are no commands (RFC 3030 section 2).
                self._refusal = reply
                self._read = Dialogue._more_chunk
            else:
                self._say(reply)
            return
        limits = self._limits
        normalize = limits.bare_newline == "normalize"
        self._text = TextReader(sink, limits.message_size, limits.text_line, normalize=normalize)
        if event.chunked:
            self._read = Dialogue._more_chunk
        else:
            self._read = Dialogue._more_text
            self._say(GO_AHEAD)

    def _line(self, limit: int) -> str | None:
        """The next line without CRLF; None if it is not whole yet, or if the session has closed over it.

        Raises CommandError for a line that is refused, once it was read to its end.
        """
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if self._buffer.find(b"\n", 0, limit) >= 0:
                self._close_with(BARE_LINE_END)
            elif len(self._buffer) > limit:
                self._buffer = self._buffer[-1:]  # it may be the CR of the CRLF
                self._read = Dialogue._swallow
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        if end + 2 > limit:
            if line.find(b"\n", 0, limit) >= 0:  # as above: the answer does not hang on how the packets were cut
                self._close_with(BARE_LINE_END)
                return None
            raise CommandError(LINE_TOO_LONG)
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self._close_with(BARE_LINE_END)
            return None
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CommandError(Reply(500, "5.5.2", "Commands are UTF-8")) from error

    def _swallow(self) -> Event | None:
        """Reads an endless line to its end without keeping it."""
        end = self._buffer.find(b"\r\n")
        if end < 0:
            self._buffer = self._buffer[-1:]
            return None
        self._buffer = self._buffer[end + 2 :]
        self._read = Dialogue._command_line
        return self._refuse(LINE_TOO_LONG)

    def _command_line(self) -> Event | None:
        if not self._buffer:
            return None
        try:
            line = self._line(self._limits.command_line)
            if line is None:
                return None
            verb, _, argument = line.partition(" ")
            action = _COMMANDS.get(verb.upper()) if verb.isascii() else None  # the capital of "ſ" is "S"
            if action is None:
                return self._closing(NO_WEB) if verb in _WEB else self._refuse(UNKNOWN)
            return action(self, argument)
        except CommandError as error:
            return self._refuse(error.reply)

    # -- commands -------------------------------------------------------------------------------------------------

    def _ehlo(self, argument: str) -> Event | None:
        return self._hello(command.parse_hello(argument), extended=True)

    def _helo(self, argument: str) -> Event | None:
        return self._hello(command.parse_hello(argument), extended=False)

    def _hello(self, name: str, *, extended: bool) -> Event | None:
        if self.helo:
            self._idled()
        return _GO_ON if self.closed else self._ask(events.Hello(name, extended))

    def _mail(self, argument: str) -> Event | None:
        if not self.helo:
            return self._refuse(NEED_HELLO)
        if self._facts.service is not Service.SMTP:
            if not self.secure and self._facts.tls_offered:
                return self._refuse(NEED_TLS)
            if not self.login:
                return self._refuse(NEED_LOGIN)
        if self.mail is not None:
            return self._refuse(BAD_SEQUENCE)
        if self._messages >= self._limits.transactions:
            return self._closing(TOO_MANY_MESSAGES)
        parsed = command.parse_mail(argument, self._facts.host)
        if parsed.size > self._limits.message_size:
            return self._refuse(too_big(self._limits.message_size))
        return self._ask(events.Mail(parsed))

    def _rcpt(self, argument: str) -> Event | None:
        if self.mail is None or self._text is not None:
            return self._refuse(BAD_SEQUENCE)
        if self.recipients >= self._limits.recipients:
            # Not an error of a peer that follows RFC 5321 section 4.5.3.1.10: it comes back with the rest.
            self._over += 1
            if self._over > self._limits.recipients * _INSISTENCE:
                return self._closing(FAR_TOO_MANY)
            self._say(Reply(452, "4.5.3", "Too many recipients; send to the rest in another message"))
            return _GO_ON
        parsed = command.parse_rcpt(argument, self._facts.host, smtputf8=self.mail.smtputf8)
        return self._ask(events.Rcpt(parsed))

    def _data(self, argument: str) -> Event | None:
        if self._buffer:
            # DATA is the last of a group (RFC 2920 section 3.1): a text sent before 354 may not be read as commands,
            # least of all where DATA is refused.
            return self._closing(TALKED_AHEAD)
        if argument.strip():
            return self._refuse(command.BAD_SYNTAX)
        if self.mail is None or self._text is not None:
            return self._refuse(BAD_SEQUENCE)
        if not self.recipients:
            return self._refuse(Reply(554, "5.5.1", "No valid recipients"))
        return self._ask(events.Data(False))

    def _bdat(self, argument: str) -> Event | None:
        try:
            size, last = command.parse_bdat(argument)
        except CommandError as error:
            # How much follows is not known: what comes next cannot be told from commands.
            return self._closing(Reply(501, error.reply.enhanced, "BDAT needs a size; goodbye"))
        if size > self._limits.message_size + _PATIENCE:
            return self._closing(too_big(self._limits.message_size))  # nobody reads so much to say no
        self._chunk_left, self._chunk_last = size, last
        if self._text is None and self.mail is not None and self.recipients:
            return self._ask(events.Data(True))
        if self._text is None:
            self._refusal = BAD_SEQUENCE
        self._read = Dialogue._more_chunk
        return _GO_ON if size or last else self._idled()

    def _rset(self, argument: str) -> Event | None:
        self._forget()
        self._say(OK)
        self._idled()
        return events.Reset()

    def _noop(self, argument: str) -> Event | None:
        self._say(OK)
        return self._idled()

    def _quit(self, argument: str) -> Event | None:
        return self._closing(BYE)

    def _vrfy(self, argument: str) -> Event | None:
        self._errors += 1
        self._say(Reply(252, "2.5.2", "Send the message and see"))
        return self._closing(TOO_MANY_ERRORS) if self._errors >= self._limits.errors else _GO_ON

    def _help(self, argument: str) -> Event | None:
        self._say(Reply(214, "2.0.0", "RFC 5321 tells it all"))
        return self._idled()

    def _starttls(self, argument: str) -> Event | None:
        if argument.strip():
            return self._refuse(command.BAD_SYNTAX)
        if not self._facts.tls_offered or self.secure or self._text is not None:
            return self._refuse(BAD_SEQUENCE)
        if self._buffer:
            # Commands behind STARTTLS in one packet would survive the handshake unprotected (RFC 3207 section 6).
            return self._closing(TALKED_AHEAD)
        self._say(Reply(220, "2.0.0", "Go ahead"))
        self._read = Dialogue._nothing
        return events.StartTls()

    def _auth(self, argument: str) -> Event | None:
        if not self.may_authenticate:
            if self._facts.service is not Service.SMTP and not self.secure:
                return self._refuse(Reply(538, "5.7.11", "Say STARTTLS first"))
            return self._refuse(Reply(503, "5.5.1", "AUTH is not offered here"))
        if self.login or self.mail is not None:
            return self._refuse(BAD_SEQUENCE)
        if not self.helo:
            return self._refuse(NEED_HELLO)
        mechanism, _, initial = argument.partition(" ")
        initial = initial.strip()
        match mechanism.upper(), initial:
            case "PLAIN", "":
                self._say(Reply(334, "", ""))
                self._login_name = None
                self._read = Dialogue._login_line
                return _GO_ON
            case "PLAIN", response:
                return self._ask(events.Login(*command.parse_plain(response)))
            case "LOGIN", name:
                self._login_name = command.decode_base64(name) if name else ""
                self._say(_PASSWORD if name else _USERNAME)
                self._read = Dialogue._login_line
                return _GO_ON
            case _:
                return self._refuse(Reply(504, "5.5.4", "PLAIN and LOGIN are offered"))

    @property
    def may_authenticate(self) -> bool:
        """Logins are for the submission doors, and only under TLS (RFC 8314 section 3.3)."""
        return self._facts.service is not Service.SMTP and (self.secure or not self._facts.tls_offered)

    def _login_line(self) -> Event | None:
        name = self._login_name
        try:
            line = self._line(12_288)  # RFC 4954 section 4: the longest line of a response
            if line is None:
                return None
            self._read = Dialogue._command_line
            if line == "*":
                raise CommandError(Reply(501, "5.7.0", "Authentication given up"))
            if name is None:
                return self._ask(events.Login(*command.parse_plain(line)))
            if name:
                return self._ask(events.Login(name, command.decode_base64(line)))
            self._login_name = command.decode_base64(line)
            if not self._login_name:
                raise CommandError(Reply(501, "5.5.2", "The name is empty"))
        except CommandError as error:
            self._read = Dialogue._command_line
            return self._refuse(error.reply)
        self._say(_PASSWORD)
        self._read = Dialogue._login_line
        return _GO_ON

    # -- text -----------------------------------------------------------------------------------------------------

    def _more_text(self) -> Event | None:
        assert self._text is not None
        if not self._buffer:
            return None
        block, self._buffer = self._buffer, b""
        rest = self._text.feed(block)
        if rest is None:
            return self._patience()
        self._buffer = rest
        self._read = Dialogue._command_line
        return self._ask(events.Text(self._text.size, self._text.fault))

    def _more_chunk(self) -> Event | None:
        if self._chunk_left:
            if not self._buffer:
                return None
            block = self._buffer[: self._chunk_left]
            self._buffer = self._buffer[len(block) :]
            self._chunk_left -= len(block)
            if self._text is not None:
                self._text.feed_chunk(block)
            if self._chunk_left:
                return self._patience() if self._text is not None else _GO_ON
        self._read = Dialogue._command_line
        if self._refusal is not None:
            refusal = self._refusal
            self._forget()  # what is left of the transaction cannot be whole any more
            return self._refuse(refusal)
        assert self._text is not None
        if self._chunk_last:
            self._text.end_chunks()
            return self._ask(events.Text(self._text.size, self._text.fault))
        self._say(Reply(250, "2.0.0", f"{self._text.size} octets so far"))
        return _GO_ON

    def _patience(self) -> Event | None:
        """An oversized text is read to its end, for a clean 552, but not without end."""
        assert self._text is not None
        if self._text.fault == TOO_BIG and self._text.size > self._limits.message_size + _PATIENCE:
            self._close_with(Reply(421, "4.3.4", "The message has no end; goodbye"))
        return None


def too_big(limit: int) -> Reply:
    return Reply(552, "5.3.4", f"The message is over the limit of {limit} octets")


_GO_ON: Event = events.Reset()  # a mark: the loop of `next` goes on
# A web browser that was led to this port: its request may hold commands of someone else's making.
_WEB = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"))
_USERNAME = Reply(334, "", "VXNlcm5hbWU6")  # base64 of "Username:"
_PASSWORD = Reply(334, "", "UGFzc3dvcmQ6")  # base64 of "Password:"

_Reader = Callable[[Dialogue], Event | None]

_ANSWERED: dict[type[Event], Callable[[Dialogue, Any, Reply], None]] = {
    events.Connected: Dialogue._greeted,
    events.Hello: Dialogue._answered_hello,
    events.Mail: Dialogue._answered_mail,
    events.Rcpt: Dialogue._answered_rcpt,
    events.Text: Dialogue._answered_text,
    events.Login: Dialogue._answered_login,
}

_COMMANDS: dict[str, Callable[[Dialogue, str], Event | None]] = {
    "EHLO": Dialogue._ehlo,
    "HELO": Dialogue._helo,
    "MAIL": Dialogue._mail,
    "RCPT": Dialogue._rcpt,
    "DATA": Dialogue._data,
    "BDAT": Dialogue._bdat,
    "RSET": Dialogue._rset,
    "NOOP": Dialogue._noop,
    "QUIT": Dialogue._quit,
    "VRFY": Dialogue._vrfy,
    "HELP": Dialogue._help,
    "STARTTLS": Dialogue._starttls,
    "AUTH": Dialogue._auth,
}
