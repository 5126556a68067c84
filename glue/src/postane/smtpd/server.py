"""Moves octets between a connection and its dialogue. An aiosmtpd server with another engine.

aiosmtpd's own SMTP class reads line by line through a StreamReader and runs a coroutine for each command; both cost
more than all the rest of a message. Here `data_received` feeds the dialogue at once and writes what it says in one
block. What users of aiosmtpd know stays: `session` (peer, ssl, host_name, extended_smtp, authenticated),
`envelope` (mail_from, rcpt_tos, smtp_utf8), `event_handler` with handle_CONNECT, handle_EHLO, handle_MAIL,
handle_RCPT, handle_DATA, handle_AUTH. A hook here returns a Reply, or a future of one where it has to wait; only then
does the session pause.
"""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import termios
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from aiosmtpd import smtp as aiosmtpd

from postane.config.model import Limits
from postane.core.peer import Service
from postane.core.reply import Reply
from postane.smtpd import events
from postane.smtpd.dialogue import BYE, TALKED_AHEAD, Dialogue, Facts, Sink
from postane.smtpd.limits import Sessions, net_of
from postane.smtpd.tls import feed

Answer = Reply | Awaitable[Reply]

FAILED = Reply(451, "4.3.0", "Something failed on our side; try again later")
TOO_MANY = Reply(421, "4.3.2", "Too many connections; try again later")
TOO_SLOW = Reply(421, "4.4.2", "You were silent for too long; goodbye")
GOING_DOWN = Reply(421, "4.3.2", "The service is restarting; come again at once")


_NEVER = float("inf")

# Seconds for the last replies to be read (and, under TLS, for the other side's farewell).
FAREWELL = 10.0


class Handler(Protocol):
    """What a session asks. See smtpd.handler for the one that Postane uses."""

    def handle_CONNECT(self, server: Server) -> Answer: ...

    def handle_EHLO(self, server: Server, name: str, extended: bool) -> Answer: ...

    def handle_AUTH(self, server: Server, login: str, password: str) -> Answer: ...

    def handle_MAIL(self, server: Server, event: events.Mail) -> Answer: ...

    def handle_RCPT(self, server: Server, event: events.Rcpt) -> Answer: ...

    def handle_start(self, server: Server) -> tuple[Reply, Sink | None] | Awaitable[tuple[Reply, Sink | None]]: ...

    def handle_DATA(self, server: Server, size: int, fault: str) -> Answer: ...

    def recipients(self, server: Server) -> list[str]:
        """Who was accepted in this transaction so far."""
        ...

    def handle_reset(self, server: Server) -> None:
        """The transaction is over without a message: give back what was kept for it."""
        ...

    def handle_failure(self, server: Server, error: BaseException) -> None:
        """A hook raised: for the log. The peer hears 451."""
        ...


class Door:
    """What the connections of one listening door share."""

    def __init__(
        self,
        facts: Facts,
        limits: Limits,
        handler: Handler,
        sessions: Sessions,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.facts = facts
        self.limits = limits
        self.handler = handler
        self.sessions = sessions
        self.tls = tls
        self.implicit_tls = facts.service is Service.SUBMISSIONS
        self._name = facts.service.value
        self.servers: set[Server] = set()
        self.draining = False
        self.accepted: Counter[tuple[str, ...]] = Counter()  # messages, by (service,)
        self.refused: Counter[tuple[str, ...]] = Counter()  # by (service, at what, code, enhanced code)
        # One look-up by the kind of event, not a chain of comparisons: five times for each message.
        self.hooks: dict[type[events.Event], Callable[[Server, Any], object]] = {
            events.Connected: lambda server, event: handler.handle_CONNECT(server),
            events.Hello: lambda server, event: handler.handle_EHLO(server, event.name, event.extended),
            events.Login: lambda server, event: handler.handle_AUTH(server, event.login, event.password),
            events.Mail: handler.handle_MAIL,
            events.Rcpt: handler.handle_RCPT,
            events.Data: lambda server, event: handler.handle_start(server),
            events.Text: lambda server, event: handler.handle_DATA(server, event.size, event.fault),
        }

    def count(self, kind: type[events.Event], reply: Reply) -> None:
        """What the handler answered to an event."""
        if reply.code >= 400:
            self.refused[self._name, kind.__name__.lower(), str(reply.code), reply.enhanced] += 1
        elif kind is events.Text:
            self.accepted[self._name,] += 1

    def __call__(self) -> Server:
        """The protocol factory of asyncio's create_server."""
        return Server(self)

    def drain(self) -> None:
        """Idle sessions end now, busy ones after what they are doing."""
        self.draining = True
        for server in list(self.servers):
            server.drain()

    def sweep(self, now: float) -> None:
        """Ends the sessions that were silent for too long. Called every few seconds: cheaper than a timer each."""
        for server in [s for s in self.servers if s.deadline < now]:
            server.expire()


class Server(aiosmtpd.SMTP):
    """One connection."""

    def __init__(self, door: Door) -> None:
        # The parent's constructor is left out on purpose: it builds a StreamReader and looks through all its methods
        # for hooks at every connection. Nothing of what it sets up is used here.
        self.door = door
        self.loop = asyncio.get_running_loop()
        self.event_handler: Handler = door.handler
        self.hostname = door.facts.host
        self.transport: asyncio.Transport | None = None
        self.dialogue = Dialogue(door.facts, door.limits, secure=door.implicit_tls)
        self.state: object | None = None  # the handler's own, for one session
        self.deadline = 0.0
        self.ip = ""
        self.port = 0
        self.tls = ""  # protocol and cipher
        self._net = ""
        self._waiting: asyncio.Future[object] | None = None
        self._asked: type[events.Event] = events.Connected  # what the hook that waits was asked
        self._paused = False  # more has come than can be worked on while a hook waits
        self._deaf = False  # the peer does not read its replies
        self._parting = False  # the last reply was said, and the peer has not closed yet
        self._farewell: asyncio.TimerHandle | None = None  # when it will not be waited for any more
        self._shaking = False  # a TLS handshake is under way
        self._early: bytes | None = None  # octets of a handshake that came before it could begin
        self._ended = False  # the peer has closed its side
        self._until = _NEVER  # when the transaction must be over

    # -- asyncio's side -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._net:  # TLS took over: the same session goes on
            return
        peer = transport.get_extra_info("peername") or ("127.0.0.1", 0)
        if isinstance(peer, str | bytes):  # a unix socket
            peer = ("127.0.0.1", 0)
        self.ip, self.port = peer[0].removeprefix("::ffff:"), peer[1]
        net = net_of(self.ip)
        if not self.door.sessions.enter(net):
            self.dialogue.shut(TOO_MANY)  # what it says all the same is not worked on
            if not self.door.implicit_tls:
                self._flush()
            self.transport.close()
            return
        self._net = net
        self.door.servers.add(self)
        if self.door.implicit_tls:
            # The handshake begins here, and not in the listening socket, so that a peer counts from its first octet.
            self._early = b""
            self._wait(self._start_tls())
            return
        if _unread(transport):
            self.dialogue.shut(TALKED_AHEAD)
        self._advance()

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
        self.dialogue.receive(data)
        if self._waiting is None:
            self._advance()
        elif self.transport is not None and not self._shaking:
            # A question is open: what comes meanwhile waits in the kernel, not in our memory.
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer will say no more, but may still read: it gets the answer that it waits for."""
        self._ended = True
        # TLS knows no half-closed connections.
        return self._waiting is not None and self._early is None and not self.tls

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            # What was already handed to the spool is kept; a look-up is of no use to anyone any more.
            self._waiting.cancel()
        if self._farewell is not None:
            self._farewell.cancel()
        if self._net:
            self.event_handler.handle_reset(self)
            self.door.sessions.leave(self._net)
            self.door.servers.discard(self)
            self._net = ""
        self.transport = None

    def pause_writing(self) -> None:
        """The peer does not read its replies: 64 KiB of them wait."""
        self._deaf = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._deaf = False
        if self.transport is not None and not self._paused:
            self.transport.resume_reading()

    def __del__(self) -> None:
        """The parent's looks for what only its own constructor makes."""

    # -- the engine -----------------------------------------------------------------------------------------------

    def touch(self, *, said: bool) -> None:
        """Sets the next deadline: in a text with each block, else only where something was answered.

        So a command that comes octet by octet has the time of one command, and a transaction has an end.
        """
        now, limits, dialogue = time.monotonic(), self.door.limits, self.dialogue
        if dialogue.reads_text:
            self.deadline = now + limits.data_timeout
        elif said or self.deadline == _NEVER:
            self.deadline = now + (limits.command_timeout if dialogue.helo else limits.hello_timeout)
        if dialogue.mail is None:
            self._until = _NEVER
        elif self._until == _NEVER:
            self._until = now + limits.transaction_timeout
        self.deadline = min(self.deadline, self._until)

    def _advance(self) -> None:
        """Works through what was received until it is used up or a hook has to wait."""
        dialogue = self.dialogue
        hooks = self.door.hooks
        while (event := dialogue.next()) is not None:
            kind = type(event)
            if kind is events.StartTls:
                self._flush()
                if self.transport is not None:
                    self.transport.pause_reading()  # nothing more in clear: what comes next is the handshake
                self._asked = kind
                self._wait(self._start_tls())
                return
            if kind is events.Reset:
                self.event_handler.handle_reset(self)
                continue
            try:
                answer = hooks[kind](self, event)
            except Exception as error:  # a hook never takes the session down
                self.event_handler.handle_failure(self, error)
                answer = FAILED
            if type(answer) is Reply:
                if answer.code >= 400:
                    self.door.count(kind, answer)
                dialogue.answer(answer)
            elif type(answer) is tuple:
                if answer[0].code >= 400:
                    self.door.count(kind, answer[0])
                dialogue.answer(*answer)
            else:
                self._flush()
                self._asked = kind
                self._wait(answer)
                return
        said = self._flush()
        if self.transport is None:
            return
        if self._ended:
            self._close()
        elif dialogue.closed:
            self._part()
        else:
            self.touch(said=said)
            if self._paused:  # all that had come is used up; not sooner, or each answer would let in a block more
                self._paused = False
                if not self._deaf:
                    self.transport.resume_reading()
            if self.door.draining:
                self.drain()

    def _wait(self, answer: object) -> None:
        self.deadline = _NEVER  # the peer waits for us now
        future = asyncio.ensure_future(cast("Awaitable[object]", answer))
        self._waiting = future
        future.add_done_callback(self._answered)

    def _answered(self, future: asyncio.Future[object]) -> None:
        self._waiting = None
        if self.transport is None:  # the peer is gone
            if not future.cancelled() and (error := future.exception()) is not None:
                self.event_handler.handle_failure(self, error)
            return
        if future.cancelled():
            self._fail()
        elif (error := future.exception()) is not None:
            self.event_handler.handle_failure(self, error)
            self._fail()
        else:
            match future.result():
                case Reply() as reply:
                    self.door.count(self._asked, reply)
                    self.dialogue.answer(reply)
                case (Reply() as reply, sink):
                    self.dialogue.answer(reply, cast("Sink | None", sink))
                case _:
                    pass  # TLS stands
        self._advance()

    def _fail(self) -> None:
        self.door.count(self._asked, FAILED)
        self.dialogue.answer(FAILED)

    def _flush(self) -> bool:
        """Writes the replies that have gathered, in one block; True if there were any."""
        out = self.dialogue.take_output()
        if out and self.transport is not None:
            self.transport.write(out)
        return bool(out)

    async def _start_tls(self) -> None:
        self._shaking = True  # what comes with its last octets comes past the transport that we have
        try:
            transport = await self._handshake()
        except (OSError, ssl.SSLError) as error:
            # The peer hung up or speaks no TLS that is safe: its matter, and there is nobody left to tell.
            self._abort()
            self.connection_lost(error)  # the loop does not always tell of a connection that ends in its handshake
            return
        finally:
            self._shaking = False
        if transport is None or self.transport is None:
            return
        self.transport = transport
        secured = transport.get_extra_info("ssl_object")
        name, _, _ = secured.cipher() or ("", "", 0)
        self.tls = f"{secured.version()} {name}"
        if not self.dialogue.secure:  # else TLS was there before the greeting, which is still to be said
            self.dialogue.secured()

    async def _handshake(self) -> asyncio.Transport | None:
        assert self.transport is not None
        assert self.door.tls is not None
        seconds = self.door.limits.handshake_timeout
        handshake = asyncio.ensure_future(
            self.loop.start_tls(self.transport, self, self.door.tls, server_side=True, ssl_handshake_timeout=seconds)
        )
        try:
            if self._early is not None:
                await asyncio.sleep(0)  # now what comes is handed to the handshake, ...
                await asyncio.sleep(0)  # ... and now it listens
                if (listener := self.transport.get_protocol()) is not None:  # None: the peer is gone already
                    feed(listener, self._early)
                self._early = None
            return await handshake
        finally:
            handshake.cancel()

    # -- what users of aiosmtpd know; made when asked for, since most messages pass without ------------------------

    @property
    def session(self) -> aiosmtpd.Session:  # type: ignore[override]  # the parent's is an attribute
        """A picture of the session as it is now."""
        session = aiosmtpd.Session(self.loop)
        session.peer = self.ip
        session.host_name = self.dialogue.helo or None
        session.extended_smtp = self.dialogue.extended
        session.authenticated = bool(self.dialogue.login)
        if self.tls:
            version, _, name = self.tls.partition(" ")
            session.ssl = {"version": version, "cipher": name}
        return session

    @property
    def envelope(self) -> aiosmtpd.Envelope:  # type: ignore[override]
        """A picture of the transaction as it is now."""
        envelope = aiosmtpd.Envelope()
        if self.dialogue.mail is not None:
            envelope.mail_from = str(self.dialogue.mail.sender or "")
            envelope.smtp_utf8 = self.dialogue.mail.smtputf8
            envelope.rcpt_tos = self.event_handler.recipients(self)
        return envelope

    # -- ends from our side ---------------------------------------------------------------------------------------

    def expire(self) -> None:
        self._shut(TOO_SLOW)

    def drain(self) -> None:
        """Ends the session unless it is in the middle of a message or of an answer."""
        if self._waiting is None and (self.dialogue.mail is None or self.dialogue.closed):
            self._shut(GOING_DOWN)

    def _shut(self, reply: Reply) -> None:
        self.dialogue.shut(reply)
        self._flush()
        self._close()

    def _part(self) -> None:
        """After a last reply of the dialogue's. Octets that the peer has sent and we have not read would make the
        kernel reset the connection, and the reply would be lost: so they are read, and thrown away, for a while.
        """
        if self.tls or self.dialogue.why_closed == BYE.text:
            self._close()
        elif not self._parting and self.transport is not None:
            self._parting = True
            self.deadline = _NEVER
            self.transport.write_eof()
            self.transport.resume_reading()
            self._farewell = self.loop.call_later(FAREWELL, self._abort)

    def _close(self) -> None:
        """Ends the connection once the peer has read what was said; who reads nothing would hold it open for ever."""
        if self.transport is not None:
            self.transport.close()
            self.deadline = _NEVER
            if self.tls or self.transport.get_write_buffer_size():
                self._farewell = self.loop.call_later(FAREWELL, self._abort)

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _unread(transport: asyncio.BaseTransport) -> bool:
    """True if octets of the peer wait in the kernel: it talks before it was greeted (RFC 5321 section 4.3.1)."""
    connection = transport.get_extra_info("socket")
    return connection is not None and fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)) != bytes(4)
