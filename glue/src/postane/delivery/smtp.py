"""To the mail servers of the world: RFC 5321 by MX, or all by one smarthost. The one doorway to aiosmtplib.

Servers are tried in order until one takes the connection; what it says about a recipient then counts.
TLS is opportunistic (RFC 7435): taken where offered, without looking at the certificate; where it breaks, the same
server is asked again in clear, for mail that would go in clear to a server without TLS is no worse off.

Never raises for what a peer does: each recipient has an Outcome with the peer's own words, and `remote` names it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from random import Random

import aiosmtplib
from aiosmtplib.errors import SMTPConnectResponseError, SMTPException, SMTPResponseException

from postane.config.model import Delivery
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import AddressError, TemporaryError
from postane.core.outcome import Fate, Outcome
from postane.core.ports import Claimed
from postane.core.reply import Reply
from postane.delivery.mx import Lookup, OwnHost, RefusedError, Target, find
from postane.delivery.pool import Pool
from postane.delivery.transaction import Request, commands, needs_smtputf8
from postane.delivery.words import reply_of, silence
from postane.observe.log import get_logger

log = get_logger("delivery")

_MOST_RECIPIENTS = 100  # a transaction (RFC 5321 section 4.5.3.1.8); more go in several

# aiosmtplib holds a whole message in memory, some copies of it for a while: few large ones may be under way at once.
_LARGE = 1024 * 1024
_LARGE_AT_ONCE = 8


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
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        if message.size < _LARGE:
            return await self._deliver_all(message, recipients)
        async with self._large:
            return await self._deliver_all(message, recipients)

    async def _deliver_all(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        text = message.read()  # raises before any server hears of it
        outcomes: list[Outcome] = []
        for at in range(0, len(recipients), _MOST_RECIPIENTS):
            outcomes += await self._deliver(message.envelope, text, recipients[at : at + _MOST_RECIPIENTS])
        return outcomes

    async def close(self) -> None:
        self._pool.close()

    async def _deliver(self, envelope: Envelope, text: bytes, recipients: Sequence[Recipient]) -> list[Outcome]:
        domain = self._settings.smarthost or _domain(recipients[0].address)
        while (peer := self._pool.take(domain)) is not None:
            try:
                return await self._transact(domain, peer, envelope, text, recipients)
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
                return await self._transact(domain, peer, envelope, text, recipients)
            except _NextError as error:
                log.info("mail server passed over", trace_id=envelope.id, server=str(target), reason=str(error.reply))
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
        try:
            await peer.client.starttls(
                tls_context=self._tls, server_hostname=_sni(target.host), timeout=self._settings.connect_timeout
            )
            await self._hello(peer)
            peer.tls = True
            return peer
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            log.info("STARTTLS failed; in clear", server=str(target), reason=silence(error, "no answer"))
            peer.discard()
        return await self._greet(target)

    async def _greet(self, target: Target) -> _Peer:
        settings = self._settings
        port = _host_port(settings.smarthost, settings.smtp_port)[1] if settings.smarthost else settings.smtp_port
        client = aiosmtplib.SMTP(
            hostname=target.address,
            port=port,
            local_hostname=self._host,
            timeout=settings.command_timeout,
            start_tls=False,
        )
        peer = _Peer(client, str(target))
        try:
            await client.connect(timeout=settings.connect_timeout)
            await self._hello(peer)
        except SMTPResponseException as error:
            peer.discard()
            raise _said(error, peer) from error
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            peer.discard()
            raise _NextError(Reply(451, "4.4.1", f"{target}: {_cause(error)}")) from error
        except BaseException:
            peer.discard()
            raise
        return peer

    async def _hello(self, peer: _Peer) -> None:
        try:
            await peer.client.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if error.code < 500 or not peer.usable:
                raise
            await peer.client.helo()

    # -- transaction ------------------------------------------------------------------------------------------------

    async def _transact(
        self, domain: str, peer: _Peer, envelope: Envelope, text: bytes, recipients: Sequence[Recipient]
    ) -> list[Outcome]:
        """Raises _NextError if the server broke off before it had said anything about the mail."""
        request = Request(envelope, len(text), peer.extensions, needs_smtputf8(envelope, text))
        mail, refused = commands(request, recipients)
        replies: dict[str, Reply] = dict(refused)
        left = [recipient for recipient in recipients if recipient.address not in replies]
        try:
            if left:
                await self._talk(peer, mail, request, left, replies, text)
        except _NextError:
            peer.discard()
            raise
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            peer.discard()
            lost = Reply(451, "4.4.2", f"{peer.name}: {_cause(error)}")
            spoken = {address: (reply, peer.name) for address, reply in replies.items()}
            return [Outcome.from_reply(r.address, *spoken.get(r.address, (lost, ""))) for r in recipients]
        except BaseException:
            peer.discard()
            raise
        self._pool.put(domain, peer)
        return [
            _outcome(r, replies[r.address], "" if r.address in refused else peer.name, peer.offers("dsn"))
            for r in recipients
        ]

    async def _talk(
        self,
        peer: _Peer,
        mail: str,
        request: Request,
        recipients: Sequence[Recipient],
        replies: dict[str, Reply],
        text: bytes,
    ) -> None:
        """Fills `replies`; a recipient without one was in the hands of a connection that broke."""
        try:
            said = await peer.say(mail)
        except (SMTPException, OSError, TimeoutError) as error:
            raise _NextError(Reply(451, "4.4.2", f"{peer.name}: {_cause(error)}")) from error
        if said.code == 421:
            raise _NextError(said, peer.name)
        accepted: list[Recipient] = []
        if said.ok:
            for recipient in recipients:
                answer = await peer.say(request.rcpt(recipient))
                if answer.ok:
                    accepted.append(recipient)
                else:
                    replies[recipient.address] = answer
        else:
            replies.update({recipient.address: said for recipient in recipients})
        if not accepted:
            await peer.say("RSET")
            return
        try:
            response = await peer.client.data(text, timeout=self._settings.data_timeout)
            final = reply_of(response.code, response.message.split("\n"))
        except SMTPResponseException as error:
            final = reply_of(error.code, error.message.split("\n"))
            if peer.usable and not final.ok:
                replies.update({recipient.address: final for recipient in accepted})
                await peer.say("RSET")
                return
        replies.update({recipient.address: final for recipient in accepted})


class _Peer:
    """A connection after EHLO."""

    def __init__(self, client: aiosmtplib.SMTP, name: str) -> None:
        self.client = client
        self.name = name
        self.tls = False

    @property
    def usable(self) -> bool:
        return self.client.is_connected

    @property
    def extensions(self) -> dict[str, str]:
        return self.client.esmtp_extensions

    def offers(self, extension: str) -> bool:
        return extension in self.client.esmtp_extensions

    async def say(self, command: str) -> Reply:
        """Raises SMTPException where there is no answer."""
        response = await self.client.execute_command(command.encode())
        if response.code < 200:
            raise SMTPException(f"the server sent what is no reply: {response.message[:80]!r}")
        return reply_of(response.code, response.message.split("\n"))

    def discard(self) -> None:
        # A farewell that nobody waits for.
        if self.client.is_connected and self.client.protocol is not None:
            self.client.protocol.write(b"QUIT\r\n")
        self.client.close()


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


def _said(error: SMTPResponseException, peer: _Peer) -> _NextError:
    if error.code < 200:
        return _NextError(Reply(451, "4.4.1", f"{peer.name}: {error.message}"))
    reply = reply_of(error.code, error.message.split("\n"))
    if isinstance(error, SMTPConnectResponseError) and not reply.enhanced:
        # A greeting has no enhanced code; ours says that the system refuses (RFC 3463 section 3.4).
        reply = Reply(reply.code, f"{str(reply.code)[0]}.3.2", reply.text)
    return _NextError(reply, peer.name)


def _cause(error: BaseException) -> str:
    """aiosmtplib wraps the system's error in its own words; the system's are shorter."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return silence(error, "no answer in time")


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


def _sni(host: str) -> str:
    return "" if host.startswith("[") else host
