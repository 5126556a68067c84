"""Decides what a peer may do: the questions of a dialogue, answered from the directory, the filters and the spool.

What can be answered from memory is answered at once, as a Reply; only a look-up, a filter or the spool's sync makes a
session wait. Every refusal has the code that its RFC names, and the reason in words.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Protocol, TypeVar

from postane.config.model import Smtp
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import SpoolFullError, TemporaryError
from postane.core.peer import Peer, Service
from postane.core.ports import Body, Case, Directory, Filters, Now, Resolved
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Ruling, Verdict
from postane.observe.log import get_logger
from postane.smtpd import events, text
from postane.smtpd.dialogue import OK, Sink, too_big
from postane.smtpd.filing import Parcel, Refusal, file, reply_of
from postane.smtpd.keeping import NO_ROOM, DraftBody, Intake, Keeper
from postane.smtpd.received import received
from postane.smtpd.server import Answer, Server

log = get_logger("smtpd")

SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
NO_MAILBOX = Reply(550, "5.1.1", "No such mailbox here")
CLOSED = {
    "4xx": Reply(450, "4.2.1", "The domain takes no mail now; try again later"),
    "5xx": Reply(550, "5.2.1", "The domain takes no mail"),
}
NO_RELAY = Reply(554, "5.7.1", "Relay access denied")
NO_SUCH_DOMAIN = Reply(550, "5.1.2", "That domain cannot receive mail")
NOT_YOUR_SENDER = Reply(553, "5.7.1", "The sender address does not belong to your login")
CANNOT_LOOK_UP = Reply(451, "4.3.0", "The address cannot be looked up now; try again later")
LOOP = Reply(554, "5.4.6", "The message has passed too many servers: a mail loop")
BARE_NEWLINE = Reply(550, "5.6.11", "The message has a bare CR or LF; lines end with CR LF")
NUL = Reply(550, "5.6.0", "The message has a NUL octet")
LOGIN_OK = Reply(235, "2.7.0", "Authentication successful")
LOGIN_FAILED = Reply(535, "5.7.8", "Name or password is wrong")

# Above a text that begins with white space: its first line would else go on with the last of our own fields.
TORN = b"X-Postane-Torn: the message began in the middle of a field\r\n"

T = TypeVar("T")

_RECEIVED = re.compile(rb"^received:", re.IGNORECASE | re.MULTILINE)


class Signer(Protocol):
    """Signs what is submitted; returns header octets to put on top. Raises TemporaryError: then the mail waits."""

    def sign(self, domain: str, head: bytes, body: Body) -> bytes: ...


@dataclass(slots=True)
class Transaction:
    """What one session gathers between MAIL and the end of the text."""

    sender: Address | None = None
    recipients: dict[str, Recipient] = field(default_factory=dict)  # by address: nobody gets a message twice
    message_id: str = ""
    draft: DraftBody | None = None
    spool_error: SpoolFullError | None = None
    tenant: str = ""


@dataclass(slots=True)
class Standing:
    """What one session is allowed, kept in `server.state`."""

    account: str = ""
    tenant: str = ""
    relays: bool = False  # may send anywhere without a login
    wishes: tuple[str, ...] = ()  # what the account, its domain and its tenant want of the filters
    case: Case | None = None  # the filters of this session, once any of them is asked
    transaction: Transaction | None = None


class MailHandler:
    """The handler of all three doors. One for each worker."""

    def __init__(
        self,
        settings: Smtp,
        directory: Directory,
        filters: Filters,
        intake: Intake,
        signer: Signer | None,
        now: Now,
        *,
        tls_offered: bool,
    ) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._directory = directory
        self._filters = filters
        self._phases = filters.phases
        self._asks_envelope = bool(filters.phases - {"data"})
        self._intake = intake
        self._keeper = Keeper(intake)
        self._signer = signer
        self._now = now
        self._tls_offered = tls_offered
        self._relay_from = [ip_network(text) for text in settings.relay_from]
        self._greetings: dict[str, Reply] = {}
        self._offers: dict[tuple[str, bool, bool], Reply] = {}

    # -- the hooks ------------------------------------------------------------------------------------------------

    def handle_CONNECT(self, server: Server) -> Answer:
        server.state = Standing(relays=self._relays(server))
        greeting = self._greetings.get(server.hostname)
        if greeting is None:
            greeting = Reply(220, "", f"{server.hostname} {self._settings.banner}")
            self._greetings[server.hostname] = greeting
        if "connect" in self._phases:
            return self._judged(self._case(server).connect(self._peer(server)), greeting)
        return greeting

    def handle_EHLO(self, server: Server, name: str, extended: bool) -> Answer:
        self.handle_reset(server)
        if not extended:
            return Reply(250, "", server.hostname)
        tls = self._tls_offered and not server.dialogue.secure
        key = (server.hostname, tls, server.dialogue.may_authenticate)
        if (offer := self._offers.get(key)) is None:
            offer = self._offers[key] = self._offer(*key)
        return offer

    def _offer(self, host: str, tls: bool, auth: bool) -> Reply:
        """The answer to EHLO; the same for all sessions in the same state."""
        lines = [
            host,
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "CHUNKING",
            f"LIMITS RCPTMAX={self._limits.recipients}",  # RFC 9422
        ]
        if tls:
            lines.append("STARTTLS")
        if auth:
            lines.append("AUTH PLAIN LOGIN")
        return Reply(250, "", "\n".join(lines))

    async def handle_AUTH(self, server: Server, login: str, password: str) -> Reply:
        try:
            found = await self._directory.authenticate(login, password)
        except TemporaryError as error:
            log.error("directory_failed", reason=str(error))
            return Reply(454, "4.7.0", "Authentication is not possible now; try again later")
        if found is None:
            log.warning("auth_failed", client_ip=server.ip, login=login[:256], service=server.door.facts.service.value)
            return LOGIN_FAILED
        standing = self._standing(server)
        standing.account, standing.tenant, standing.wishes = found.account, found.tenant, found.policies
        log.info("auth_ok", client_ip=server.ip, login=found.account, service=server.door.facts.service.value)
        return LOGIN_OK

    def handle_MAIL(self, server: Server, event: events.Mail) -> Answer:
        command = event.command
        if not self._intake.room_for(max(command.size, 1)):
            return NO_ROOM
        standing = self._standing(server)
        if standing.transaction is not None:  # one that failed on our side
            self.handle_reset(server)
        standing.transaction = Transaction(sender=command.sender)
        if standing.account:
            return self._check_sender(server, standing, command.sender)
        if self._asks_envelope or standing.case is not None:
            return self._judge_sender(server, command.sender)
        return SENDER_OK

    def handle_RCPT(self, server: Server, event: events.Rcpt) -> Answer:
        resolved = self._directory.resolve_cached(event.command.recipient)
        if resolved is None:
            return self._look_up(server, event)
        return self._take_recipient(server, event, resolved)

    def handle_start(self, server: Server) -> tuple[Reply, Sink | None]:
        """DATA or BDAT: the text may come, into a draft of the spool."""
        transaction = self._transaction(server)
        command = server.dialogue.mail
        if not self._intake.room_for(max(command.size if command else 0, 1)):  # it may have filled since MAIL
            return NO_ROOM, None
        transaction.message_id = self._intake.new_id()
        draft = transaction.draft = self._intake.draft(transaction.message_id)

        def sink(block: bytes) -> None:
            if transaction.spool_error is None:
                try:
                    draft.append(block)
                except SpoolFullError as error:
                    transaction.spool_error = error
                    draft.discard()

        return OK, sink

    def handle_DATA(self, server: Server, size: int, fault: str) -> Answer:
        transaction = self._transaction(server)
        draft = transaction.draft
        assert draft is not None
        refusal = self._refusal(transaction, fault)
        if refusal is not None:
            self.handle_reset(server)
            log.info("refused", trace_id=transaction.message_id, client_ip=server.ip, reply=str(refusal), size=size)
            return refusal
        peer = self._peer(server)
        recipients = tuple(transaction.recipients.values())
        command = server.dialogue.mail
        assert command is not None
        standing = self._standing(server)
        envelope = Envelope(
            id=transaction.message_id,
            sender=str(transaction.sender or ""),
            recipients=recipients,
            received_at=self._now(),
            login=standing.account,
            client_ip=server.ip,
            helo=peer.helo,
            smtputf8=command.smtputf8,
            body_8bit=command.body_8bit,
            ret=command.ret,
            envid=command.envid,
            tenant=standing.tenant or transaction.tenant,
        )
        sole = recipients[0].original if len(recipients) == 1 else ""
        head = received(
            peer, server.hostname, envelope.id, envelope.received_at, smtputf8=envelope.smtputf8, recipient=sole
        )
        if "data" in self._phases or standing.case is not None or (standing.account and self._signer is not None):
            return self._filter_and_keep(server, transaction, peer, envelope, head)
        standing.transaction = None  # from here on the draft is the spool's: a lost connection does not discard it
        return self._keeper.keep(envelope, head, draft)

    def recipients(self, server: Server) -> list[str]:
        transaction = self._standing(server).transaction
        return [r.original for r in transaction.recipients.values()] if transaction is not None else []

    def handle_reset(self, server: Server) -> None:
        standing = server.state
        if isinstance(standing, Standing) and standing.transaction is not None:
            if standing.transaction.draft is not None:
                standing.transaction.draft.discard()
            standing.transaction = None

    def handle_failure(self, server: Server, error: BaseException) -> None:
        log.error("session_failed", client_ip=server.ip, error=repr(error), exc_info=error)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _standing(self, server: Server) -> Standing:
        assert isinstance(server.state, Standing)
        return server.state

    def _transaction(self, server: Server) -> Transaction:
        transaction = self._standing(server).transaction
        assert transaction is not None
        return transaction

    def _case(self, server: Server) -> Case:
        standing = self._standing(server)
        if standing.case is None:
            standing.case = self._filters.open()
        return standing.case

    def _peer(self, server: Server) -> Peer:
        dialogue, standing = server.dialogue, self._standing(server)
        service = server.door.facts.service
        return Peer(
            service=service,
            ip=server.ip,
            port=server.port,
            helo=dialogue.helo,
            esmtp=dialogue.extended,
            tls=server.tls,
            login=standing.account,
            own=standing.relays or service is not Service.SMTP,  # the other doors are for our users
            tenant=standing.tenant,
        )

    def _relays(self, server: Server) -> bool:
        """True for a program of the host itself, such as Dovecot, which sends what Sieve forwards and answers."""
        if not self._relay_from or server.door.facts.service is not Service.SMTP:
            return False
        return any(ip_address(server.ip) in network for network in self._relay_from)

    async def _judged(self, asked: Awaitable[Verdict], otherwise: Reply) -> Reply:
        """The reply that a filter's verdict asks for before any text; quarantine is a matter of the data phase."""
        return reply_of(await asked) or otherwise

    async def _check_sender(self, server: Server, standing: Standing, sender: Address | None) -> Reply:
        try:
            if sender is not None and not await self._directory.may_send_as(standing.account, sender):
                log.warning("sender_refused", login=standing.account, sender=str(sender))
                return NOT_YOUR_SENDER
        except TemporaryError as error:
            log.error("directory_failed", reason=str(error))
            return CANNOT_LOOK_UP
        if self._asks_envelope or standing.wishes or standing.case is not None:
            return await self._judge_sender(server, sender)
        return SENDER_OK

    async def _judge_sender(self, server: Server, sender: Address | None) -> Reply:
        wishes = self._standing(server).wishes
        return await self._judged(self._case(server).mail(self._peer(server), str(sender or ""), wishes), SENDER_OK)

    async def _look_up(self, server: Server, event: events.Rcpt) -> Reply:
        try:
            resolved = await self._directory.resolve(event.command.recipient)
        except TemporaryError as error:
            log.error("directory_failed", reason=str(error))
            return CANNOT_LOOK_UP
        taken = self._take_recipient(server, event, resolved)
        return taken if isinstance(taken, Reply) else await taken

    def _take_recipient(self, server: Server, event: events.Rcpt, resolved: Resolved) -> Reply | Awaitable[Reply]:
        command = event.command
        address = str(command.recipient)
        standing = self._standing(server)
        if not resolved.known_domain:
            if not standing.account and not standing.relays:
                log.info("recipient_refused", client_ip=server.ip, recipient=address, reply=str(NO_RELAY))
                return NO_RELAY
            if not _can_receive(command.recipient):
                return NO_SUCH_DOMAIN
            resolved = Resolved(False, (Recipient(address=address, kind="remote"),))
        elif not resolved.targets:
            if resolved.closed:
                log.info(
                    "recipient_refused", client_ip=server.ip, recipient=address, reply=str(CLOSED[resolved.closed])
                )
                return CLOSED[resolved.closed]
            if "unknown" in self._phases:
                return self._judge_unknown(server, command.recipient)
            log.info("recipient_refused", client_ip=server.ip, recipient=address, reply=str(NO_MAILBOX))
            return NO_MAILBOX
        if self._asks_envelope or standing.case is not None or resolved.policies:
            return self._judge_recipient(server, event, resolved)
        return self._add(server, event, resolved, resolved.targets)

    async def _judge_recipient(self, server: Server, event: events.Rcpt, resolved: Resolved) -> Reply:
        recipient = event.command.recipient
        sender = str(self._transaction(server).sender or "")
        verdict, targets = await self._case(server).rcpt(self._peer(server), sender, recipient, resolved)
        if (reply := reply_of(verdict)) is not None:
            log.info(
                "recipient_refused",
                client_ip=server.ip,
                sender=sender,
                recipient=str(recipient),
                reply=str(reply),
                reason=verdict.why,
            )
            return reply
        return self._add(server, event, resolved, targets)

    async def _judge_unknown(self, server: Server, recipient: Address) -> Reply:
        sender = str(self._transaction(server).sender or "")
        reply = reply_of(await self._case(server).unknown(self._peer(server), sender, recipient)) or NO_MAILBOX
        log.info("recipient_refused", client_ip=server.ip, recipient=str(recipient), reply=str(reply))
        return reply

    def _add(self, server: Server, event: events.Rcpt, resolved: Resolved, targets: Iterable[Recipient]) -> Reply:
        command = event.command
        transaction = self._transaction(server)
        transaction.tenant = transaction.tenant or resolved.tenant
        address = str(command.recipient)
        for target in targets:
            transaction.recipients.setdefault(
                target.address,
                Recipient(target.address, address, target.kind, command.notify, command.orcpt, target.mailbox),
            )
        return RECIPIENT_OK

    def _refusal(self, transaction: Transaction, fault: str) -> Reply | None:
        assert transaction.draft is not None
        if fault == text.TOO_BIG:
            return too_big(self._limits.message_size)
        if fault == text.BARE_NEWLINE:
            return BARE_NEWLINE
        if fault == text.NUL:
            return NUL
        if fault == text.LONG_LINE:
            return Reply(550, "5.6.0", f"The message has a line of over {self._limits.text_line} octets")
        if transaction.spool_error is not None:
            log.error("spool_full", trace_id=transaction.message_id, reason=str(transaction.spool_error))
            return NO_ROOM
        if _hops(transaction.draft) > self._limits.received_hops:
            return LOOP
        return None

    async def _filter_and_keep(
        self, server: Server, transaction: Transaction, peer: Peer, envelope: Envelope, head: bytes
    ) -> Reply:
        draft = transaction.draft
        assert draft is not None
        parcels = [Parcel(envelope.recipients)]
        above = b""  # of a text that a filter has put something around
        if "data" in self._phases or self._standing(server).case is not None:
            rulings = await self._case(server).data(peer, envelope, draft)
            filed = file(rulings, own=peer.own)
            if isinstance(filed, Refusal):
                self.handle_reset(server)
                log.info("refused", trace_id=envelope.id, client_ip=peer.ip, reply=str(filed.reply), reason=filed.why)
                return filed.reply
            parcels = filed
            for ruling in rulings:
                if (verdict := ruling.verdict).decision is not ACCEPT.decision:
                    to = [recipient.address for recipient in ruling.recipients]
                    log.info("suspect", trace_id=envelope.id, to=to, suspect=ruling.suspect, reason=verdict.why)
            try:
                parcels += await self._copies(rulings)
                patches = {patch for ruling in rulings for patch in ruling.verdict.patches}
                if patches:
                    await _beside(transaction, draft, lambda: draft.overwrite(sorted(patches)))
                if around := next((r.verdict.wrap for r in rulings if r.verdict.wrap is not None), None):
                    above = around[0]
                    draft.append(around[1])
            except (SpoolFullError, TemporaryError) as error:
                self.handle_reset(server)
                log.error("not_kept", trace_id=envelope.id, reason=str(error))
                return NO_ROOM if isinstance(error, SpoolFullError) else CANNOT_LOOK_UP
        if not above and _is_torn(draft):
            above = TORN
        if peer.login and self._signer is not None:
            domain = transaction.sender.key_domain if transaction.sender else peer.login.rpartition("@")[2]
            try:
                # Signing is arithmetic that gives the interpreter free: beside the loop, not in it.
                signer = self._signer
                head = await _beside(transaction, draft, lambda: signer.sign(domain, above, draft)) + head
            except TemporaryError as error:
                self.handle_reset(server)
                log.error("signing_failed", trace_id=envelope.id, reason=str(error))
                return Reply(451, "4.7.5", "The message cannot be signed now; try again later")
        standing = self._standing(server)
        standing.transaction = None  # from here on the draft is the spool's: a lost connection does not discard it
        return await self._keeper.keep_all(envelope, head, draft, parcels, above)

    async def _copies(self, rulings: Iterable[Ruling]) -> list[Parcel]:
        """What filters want sent to others too. Nobody who sent the message hears of what becomes of a copy."""
        wanted = dict.fromkeys(address for ruling in rulings for address in ruling.verdict.copies)
        recipients: dict[str, Recipient] = {}
        for address in map(Address.parse, wanted):
            resolved = await self._directory.resolve(address)
            away = () if resolved.known_domain else (Recipient(str(address), kind="remote"),)
            if not resolved.targets and not away:
                log.error("copy_not_possible", recipient=str(address), reason="there is no such mailbox here")
            for target in resolved.targets or away:
                recipients[target.address] = replace(target, original=str(address), notify=(Notify.NEVER,))
        headers = dict.fromkeys(header for ruling in rulings for header in ruling.verdict.copy_headers)
        return [Parcel(tuple(recipients.values()), tuple(headers), sender="")] if recipients else []


async def _beside(transaction: Transaction, draft: DraftBody, work: Callable[[], T]) -> T:
    """Does work on a draft in a thread. If the peer hangs up meanwhile, the draft is thrown away after the work and not
    under it. Raises what `work` raises.
    """
    transaction.draft = None
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        result = await asyncio.shield(done)
    except asyncio.CancelledError:

        def ended(work_done: asyncio.Future[T]) -> None:
            work_done.exception()  # nobody else looks at it
            draft.discard()

        done.add_done_callback(ended)
        raise
    except BaseException:
        transaction.draft = draft
        raise
    transaction.draft = draft
    return result


def _is_torn(body: Body) -> bool:
    """True if the first line of a text is one that goes on with a field."""
    return next((bytes(chunk[:1]) for chunk in body.chunks() if chunk), b"") in (b" ", b"\t")


def _can_receive(address: Address) -> bool:
    """An address literal or a name of at least two labels (RFC 5321 section 2.3.5 asks for a full name)."""
    return address.key_domain.startswith("[") or "." in address.key_domain


def _hops(body: Body) -> int:
    """Received fields in the header section (RFC 5321 section 6.3)."""
    header = bytearray()
    for chunk in body.chunks():
        header += chunk[: 256 * 1024]
        end = header.find(b"\r\n\r\n")
        if end >= 0:
            del header[end:]
            break
        if len(header) >= 256 * 1024:
            break
    return len(_RECEIVED.findall(header))
