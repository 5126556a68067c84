"""To the mailboxes by LMTP (RFC 2033), over a unix socket or TCP, on connections that are kept.

A message goes once to all its recipients; each has a reply of its own after the data, so one full mailbox delays or
bounces nobody else's copy. A server that is away, silent or broken delays; nothing is ever lost or bounced by that.

Dovecot speaks no SMTPUTF8: the sender and headers in UTF-8 are handed over as they are, without the parameter;
recipients are named in ASCII (mailbox_name).
A message may be delivered twice where the server took it and its reply was lost; LMTP has no way to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from postane.config.model import Delivery
from postane.core.envelope import Recipient
from postane.core.outcome import Fate, Outcome
from postane.core.ports import Claimed
from postane.core.reply import Reply
from postane.delivery.dots import Piece, stuffed
from postane.delivery.mailbox_name import mailbox_name
from postane.delivery.pool import Pool
from postane.delivery.wire import ConnectionLostError, Wire, lines_of
from postane.delivery.words import silence

REMOTE = "lmtp"
_MOST_RECIPIENTS = 100  # a transaction; more go in several


class _RefusedError(Exception):
    """The server will not talk to us now: greeting or LHLO with 4xx or 5xx."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class LmtpTransport:
    """A core.ports.Transport to the server at `settings.lmtp`."""

    def __init__(self, settings: Delivery, host: str) -> None:
        """`host` is the name that we give in LHLO."""
        self._settings = settings
        self._host = host
        self._pool: Pool[Wire] = Pool(settings.idle_seconds)

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for at in range(0, len(recipients), _MOST_RECIPIENTS):
            outcomes += await self._deliver(message, recipients[at : at + _MOST_RECIPIENTS])
        return outcomes

    async def _deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        chunks = message.chunks()  # raises before anything is said to the server
        while (wire := self._pool.take("")) is not None:
            transaction = _Transaction(wire, self._settings, message, recipients)
            if await transaction.run(chunks):
                return self._done(wire, transaction)
            wire.discard()  # the server had closed it between two messages: that is no failure
        try:
            wire = await self._connect()
        except _RefusedError as error:
            # A 5xx here is about our use of the server, not about the message: it must not bounce mail.
            fault = Reply(error.reply.code if error.reply.temporary else 451, "4.3.2", error.reply.text)
            return [Outcome(r.address, Fate.DELAYED, fault, REMOTE) for r in recipients]
        except (OSError, ConnectionLostError, TimeoutError) as error:
            return _lost(recipients, f"{self._settings.lmtp}: {silence(error, 'no answer')}", "4.4.1")
        transaction = _Transaction(wire, self._settings, message, recipients)
        await transaction.run(chunks)
        return self._done(wire, transaction)

    def _done(self, wire: Wire, transaction: _Transaction) -> list[Outcome]:
        if transaction.clean:
            self._pool.put("", wire)
        else:
            wire.discard()
        return transaction.outcomes()

    async def _connect(self) -> Wire:
        """A connection after LHLO. Raises OSError, ConnectionLostError, TimeoutError, _RefusedError."""
        loop = asyncio.get_running_loop()
        address = self._settings.lmtp
        async with asyncio.timeout(self._settings.connect_timeout):
            if "/" in address:
                _, wire = await loop.create_unix_connection(Wire, address)
            else:
                name, _, port = address.rpartition(":")
                _, wire = await loop.create_connection(Wire, name.strip("[]"), int(port))
        try:
            await self._polite(wire, wire.greeting)
            lhlo = wire.expect()[0]
            wire.send(f"LHLO {self._host}\r\n".encode())
            await self._polite(wire, lhlo)
        except BaseException:
            wire.discard()
            raise
        return wire

    async def _polite(self, wire: Wire, waiter: asyncio.Future[Reply]) -> None:
        reply = await wire.answer(waiter, self._settings.command_timeout)
        if not reply.ok:
            raise _RefusedError(reply)

    async def close(self) -> None:
        self._pool.close()


class _Transaction:
    """One message on one connection. `begun`: the server has answered something; `clean`: it may be used again."""

    def __init__(self, wire: Wire, settings: Delivery, message: Claimed, recipients: Sequence[Recipient]) -> None:
        self.begun = False
        self.clean = False
        self._wire = wire
        self._settings = settings
        self._message = message
        self._recipients = recipients
        self._replies: dict[str, Reply] = {}
        self._fault: list[Outcome] = []

    async def run(self, chunks: Iterable[Piece]) -> bool:
        """True if the server answered. What it said is in `outcomes`."""
        try:
            await self._talk(chunks, self._message.envelope.sender)
        except (ConnectionLostError, OSError, TimeoutError) as error:
            self._fault = _lost(self._recipients, f"{self._settings.lmtp}: {silence(error, 'it fell silent')}", "4.4.2")
        except BaseException:  # cancelled, or the message cannot be read on: the server must not take half of it
            self._wire.discard()
            raise
        return self.begun

    async def _talk(self, chunks: Iterable[Piece], sender: str) -> None:
        wire, wait = self._wire, self._settings.command_timeout
        recipients = self._recipients
        commands = [f"MAIL FROM:<{sender}>"]
        commands += [f"RCPT TO:<{mailbox_name(recipient.address)}>" for recipient in recipients]
        commands.append("DATA")
        mail, *rcpts, data = wire.expect(len(commands))
        wire.send(lines_of(commands))
        reply = await wire.answer(mail, wait)
        self.begun = True
        accepted: list[Recipient] = []
        for recipient, waiter in zip(recipients, rcpts, strict=True):
            said = await wire.answer(waiter, wait)
            if reply.ok and said.ok:
                accepted.append(recipient)
            else:
                # Where MAIL was refused, the RCPT only says "need MAIL first": the first word counts.
                self._replies[recipient.address] = said if reply.ok else reply
        go = await wire.answer(data, wait)
        if reply.permanent and not sender.isascii() and go.code != 354:
            # Dovecot may refuse UTF-8 here too. The mail is worth more than its return path.
            self._replies.clear()
            await self._reset()
            self.clean = False
            await self._talk(chunks, "")
            return
        if not accepted:
            if go.code == 354:  # an odd server: ending the data would leave us guessing how many replies come
                return
            await self._reset()
            return
        if go.code != 354:
            self._replies.update({recipient.address: go for recipient in accepted})
            await self._reset()
            return
        finals = wire.expect(len(accepted))
        await wire.send_pieces(stuffed(chunks), self._settings.data_timeout)
        for recipient, waiter in zip(accepted, finals, strict=True):
            self._replies[recipient.address] = await wire.answer(waiter, self._settings.data_timeout)
        self.clean = True

    async def _reset(self) -> None:
        waiter = self._wire.expect()[0]
        self._wire.send(b"RSET\r\n")
        reply = await self._wire.answer(waiter, self._settings.command_timeout)
        self.clean = reply.ok

    def outcomes(self) -> list[Outcome]:
        """What the server said for each recipient; where it said nothing, what went wrong."""
        faults = {outcome.recipient: outcome for outcome in self._fault}
        return [
            Outcome.from_reply(r.address, self._replies[r.address], REMOTE)
            if r.address in self._replies
            else faults.get(r.address) or _lost([r], f"{self._settings.lmtp}: no reply", "4.4.2")[0]
            for r in self._recipients
        ]


def _lost(recipients: Sequence[Recipient], text: str, status: str) -> list[Outcome]:
    reply = Reply(451, status, text)
    return [Outcome(recipient.address, Fate.DELAYED, reply) for recipient in recipients]
