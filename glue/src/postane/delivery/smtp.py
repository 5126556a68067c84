"""To the mail servers of the world: RFC 5321 by MX, or all by one smarthost.

Servers are tried in order until one takes the connection; what it says about a recipient then counts.
TLS is opportunistic (RFC 7435): taken where offered, without looking at the certificate; where it breaks, the same
server is asked again in clear, for mail that would go in clear to a server without TLS is no worse off.

Where PIPELINING is offered a transaction is two writes (RFC 2920); the text goes out as it lies in the spool, so a
large message costs no more memory than a small one. Connections are kept for the domain's next messages.

Never raises for what a peer does: each recipient has an Outcome with the peer's own words, and `remote` names it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

from postane.config.model import Delivery
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import AddressError, TemporaryError
from postane.core.outcome import Fate, Outcome
from postane.core.ports import Claimed
from postane.core.reply import Reply
from postane.delivery.dots import END, Piece, stuffed
from postane.delivery.mx import Lookup, OwnHost, RefusedError, Target, find
from postane.delivery.pool import Pool
from postane.delivery.transaction import Request, commands, needs_smtputf8
from postane.delivery.wire import ConnectionLostError, Wire, lines_of
from postane.delivery.words import silence
from postane.observe.log import get_logger

log = get_logger("delivery")

_MOST_RECIPIENTS = 100  # a transaction (RFC 5321 section 4.5.3.1.8); more go in several


class _NextError(Exception):
    """This server cannot be used now; the next one is to be tried. `remote`: the server said it itself."""

    def __init__(self, reply: Reply, remote: str = "") -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.remote = remote


class SmtpTransport:
    """A core.ports.Transport; all recipients of a call have one domain."""

    def __init__(
        self,
        settings: Delivery,
        host: str,
        lookup: Lookup,
        ours: OwnHost,
        random: Random,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`host` is our name in EHLO, `ours` what this host knows itself by; `tls` replaces the client's context."""
        self._settings = settings
        self._host = host
        self._lookup = lookup
        self._ours = ours
        self._random = random
        self._tls = tls or opportunistic()
        self._pool: Pool[_Peer] = Pool(settings.idle_seconds)

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        text = message.chunks()  # raises before any server hears of it
        outcomes: list[Outcome] = []
        for at in range(0, len(recipients), _MOST_RECIPIENTS):
            mail = _Mail(message.envelope, message.size, text, recipients[at : at + _MOST_RECIPIENTS])
            outcomes += await self._deliver(mail)
        return outcomes

    async def close(self) -> None:
        self._pool.close()

    async def _deliver(self, mail: _Mail) -> list[Outcome]:
        recipients = mail.recipients
        domain = self._settings.smarthost or _domain(recipients[0].address)
        while (peer := self._pool.take(domain)) is not None:
            try:
                return await self._transact(domain, peer, mail)
            except _NextError:
                continue  # it had been closed since; a fresh connection says more
        try:
            targets = await self._targets(domain)
        except RefusedError as error:
            return [Outcome(r.address, Fate.FAILED, error.reply) for r in recipients]
        except TemporaryError as error:
            return [Outcome(r.address, Fate.DELAYED, Reply(451, "4.4.3", str(error))) for r in recipients]
        failures: list[_NextError] = []
        for target in targets:
            try:
                peer = await self._connect(target)
                return await self._transact(domain, peer, mail)
            except _NextError as error:
                trace_id, reason = mail.envelope.id, str(error.reply)
                log.info("mail server passed over", trace_id=trace_id, server=str(target), reason=reason)
                failures.append(error)
        # As long as one of them may answer later, the mail waits; else the last word counts.
        worst = next((f for f in reversed(failures) if not f.reply.permanent), failures[-1])
        return [Outcome.from_reply(r.address, worst.reply, worst.remote) for r in recipients]

    async def _targets(self, domain: str) -> list[Target]:
        if not self._settings.smarthost:
            return await find(domain, self._lookup, self._ours, self._random, ipv6=self._settings.ipv6)
        host = _host_port(domain, self._settings.smtp_port)[0]
        addresses = await self._lookup.addresses(host, ipv6=self._settings.ipv6) if not _is_ip(host) else (host,)
        if not addresses:
            # A mistake in our configuration must not bounce mail.
            raise TemporaryError(f"the smarthost {host} has no address")
        return [Target(host, address) for address in addresses]

    # -- connection -------------------------------------------------------------------------------------------------

    async def _connect(self, target: Target) -> _Peer:
        """Raises _NextError."""
        peer = await self._greet(target)
        if not peer.offers("starttls"):
            return peer
        settings = self._settings
        try:
            said = await peer.wire.ask("STARTTLS", settings.command_timeout)
            if not said.ok:
                raise ConnectionLostError(str(said))
            await peer.wire.start_tls(self._tls, _sni(target.host), settings.connect_timeout)
            await self._hello(peer)
            return peer
        except (_NextError, ConnectionLostError, OSError, TimeoutError) as error:
            log.info("STARTTLS failed; in clear", server=str(target), reason=silence(error, "no answer"))
            peer.wire.discard()
        except BaseException:
            peer.wire.discard()
            raise
        return await self._greet(target)

    async def _greet(self, target: Target) -> _Peer:
        """A connection after EHLO in clear. Raises _NextError."""
        settings = self._settings
        port = _host_port(settings.smarthost, settings.smtp_port)[1] if settings.smarthost else settings.smtp_port
        wire: Wire | None = None
        try:
            async with asyncio.timeout(settings.connect_timeout):
                _, wire = await asyncio.get_running_loop().create_connection(Wire, target.address, port)
            peer = _Peer(wire, str(target))
            greeting = await wire.answer(wire.greeting, settings.command_timeout)
            if not greeting.ok:
                # A greeting has no enhanced code; ours says that the system refuses (RFC 3463 section 3.4).
                status = greeting.enhanced or f"{str(greeting.code)[0]}.3.2"
                raise _NextError(Reply(greeting.code, status, greeting.text), peer.name)
            await self._hello(peer)
        except (ConnectionLostError, OSError, TimeoutError) as error:
            if wire is not None:
                wire.discard()
            raise _NextError(Reply(451, "4.4.1", f"{target}: {silence(error, 'no answer in time')}")) from error
        except BaseException:
            if wire is not None:
                wire.leave()
            raise
        return peer

    async def _hello(self, peer: _Peer) -> None:
        """EHLO, or HELO where that is unknown. Raises _NextError for a refusal, and what Wire.ask raises."""
        wait = self._settings.command_timeout
        said = await peer.wire.ask(f"EHLO {self._host}", wait)
        if said.ok:
            # RFC 5321 section 4.1.1.1: the first line is the server's name, then one extension a line.
            lines = [line.partition(" ") for line in said.text.split("\n")[1:]]
            peer.extensions = {name.lower(): parameters for name, _, parameters in lines}
            return
        peer.extensions = {}
        if said.permanent:
            said = await peer.wire.ask(f"HELO {self._host}", wait)
        if not said.ok:
            raise _NextError(said, peer.name)

    # -- transaction ------------------------------------------------------------------------------------------------

    async def _transact(self, domain: str, peer: _Peer, mail: _Mail) -> list[Outcome]:
        """Raises _NextError where nothing was said about the message yet."""
        envelope, recipients = mail.envelope, mail.recipients
        request = Request(envelope, mail.size, peer.extensions, needs_smtputf8(envelope, mail.text))
        first, refused = commands(request, recipients)
        replies: dict[str, Reply] = dict(refused)
        left = [recipient for recipient in recipients if recipient.address not in replies]
        try:
            if left:
                await self._talk(peer, [first, *map(request.rcpt, left)], left, replies, mail.text)
        except _NextError:
            peer.discard()
            raise
        except (ConnectionLostError, OSError, TimeoutError) as error:
            peer.discard()
            lost = Reply(451, "4.4.2", f"{peer.name}: {silence(error, 'no answer in time')}")
            spoken = {address: (reply, peer.name) for address, reply in replies.items()}
            return [Outcome.from_reply(r.address, *spoken.get(r.address, (lost, ""))) for r in recipients]
        except BaseException:  # cancelled, or the message cannot be read on: the server must not take half of it
            peer.wire.discard()
            raise
        self._pool.put(domain, peer)
        return [
            _outcome(r, replies[r.address], "" if r.address in refused else peer.name, peer.offers("dsn"))
            for r in recipients
        ]

    async def _talk(
        self,
        peer: _Peer,
        lines: Sequence[str],
        recipients: Sequence[Recipient],
        replies: dict[str, Reply],
        text: Iterable[Piece],
    ) -> None:
        """MAIL and RCPT (`lines`), then the text. Fills `replies`; one that is missing broke with the connection."""
        wire, wait = peer.wire, self._settings.command_timeout
        group = _Group(wire, [*lines, "DATA"], wait, together=peer.offers("pipelining"))
        try:
            mail = await group.next()
        except (ConnectionLostError, OSError, TimeoutError) as error:
            raise _NextError(Reply(451, "4.4.2", f"{peer.name}: {silence(error, 'no answer in time')}")) from error
        if mail.code == 421:
            raise _NextError(mail, peer.name)
        accepted: list[Recipient] = []
        for recipient in recipients:
            # Where MAIL was refused, RCPT would only hear "need MAIL first": the first word counts.
            said = mail if not mail.ok and not group.together else await group.next()
            if mail.ok and said.ok:
                accepted.append(recipient)
            else:
                replies[recipient.address] = said if mail.ok else mail
        if not accepted and not group.together:
            await wire.ask("RSET", wait)
            return
        go = await group.next()
        if go.code != 354:
            replies.update({recipient.address: go for recipient in accepted})
            await wire.ask("RSET", wait)
            return
        # RFC 2920 section 3.1: a server that wants a text for nobody gets an empty one.
        final = wire.expect()[0]
        try:
            await wire.send_pieces(stuffed(text) if accepted else [END], self._settings.data_timeout)
            reply = await wire.answer(final, self._settings.data_timeout)
        except ConnectionLostError:
            # A server may refuse in the midst of the text and close: what it said counts.
            if not final.done() or final.exception() is not None or final.result().ok:
                raise
            reply = final.result()
        replies.update({recipient.address: reply for recipient in accepted})


class _Mail:
    """What a transaction is about."""

    __slots__ = ("envelope", "recipients", "size", "text")

    def __init__(self, envelope: Envelope, size: int, text: Sequence[Piece], recipients: Sequence[Recipient]) -> None:
        self.envelope = envelope
        self.size = size
        self.text = text
        self.recipients = recipients


class _Group:
    """Commands whose replies come one by one: sent `together`, or each after the reply to the one before."""

    def __init__(self, wire: Wire, lines: Sequence[str], wait: float, *, together: bool) -> None:
        self.together = together
        self._wire = wire
        self._wait = wait
        self._lines = deque(lines)
        self._waiters = deque(wire.expect(len(lines)) if together else ())
        if together:
            wire.send(lines_of(lines))

    async def next(self) -> Reply:
        """Raises as Wire.answer."""
        if self.together:
            return await self._wire.answer(self._waiters.popleft(), self._wait)
        return await self._wire.ask(self._lines.popleft(), self._wait)


class _Peer:
    """A connection after EHLO. `extensions`: lower-case name → parameters."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.wire = wire
        self.name = name
        self.extensions: dict[str, str] = {}

    @property
    def usable(self) -> bool:
        return self.wire.usable

    def offers(self, extension: str) -> bool:
        return extension in self.extensions

    def discard(self) -> None:
        self.wire.leave()


def opportunistic() -> ssl.SSLContext:
    """TLS that keeps listeners out; it does not prove who the peer is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _outcome(recipient: Recipient, reply: Reply, remote: str, dsn: bool) -> Outcome:
    outcome = Outcome.from_reply(recipient.address, reply, remote)
    if outcome.fate is Fate.DELIVERED and not dsn:
        return Outcome(recipient.address, Fate.RELAYED, reply, remote)
    return outcome


def _domain(address: str) -> str:
    try:
        return Address.parse(address).key_domain
    except AddressError:
        return address.rpartition("@")[2]


def _host_port(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if colon and number.isdigit() and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(number)
    return text.strip("[]"), port


def _is_ip(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _sni(host: str) -> str | None:
    return None if host.startswith("[") else host
