"""Mail in, out and round: by port 25 as a stranger, by submission with a login, and back as a bounce.

Each check is a method that takes its case; what they share is in `Mail`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import TypeVar

from postane.acceptance.inbox import JUNK, Arrived, Inbox
from postane.acceptance.net import Net
from postane.acceptance.result import Case, FailedError, SkippedError
from postane.acceptance.subject import ARRIVE, ECHO, GTUBE, Sent, Subject, new_token
from postane.acceptance.talk import RefusedError, Reply, Sieve, Smtp
from postane.clients.model import Service
from postane.core.errors import PostaneError
from postane.filters.auth import dkim as signatures
from postane.filters.auth.authenticate import authenticate
from postane.filters.auth.message import Message, read
from postane.filters.auth.spf import Client

_AUTH_SECONDS = 20.0  # for all questions about one mail
_FOREIGN = "nobody@example.com"  # RFC 2606: nothing is ever sent there, its RCPT is to be refused
_NOWHERE = "nobody@acceptance.invalid"  # a name that never exists, so that the bounce comes at once
_AGAIN = (20.0, 45.0)  # seconds before a new try where a stranger is asked to come again (greylisting)
_FILED = 15.0  # seconds in which a mail that was taken lies somewhere
R = TypeVar("R")


class Mail:
    """The checks of mail."""

    def __init__(self, subject: Subject, net: Net, inbox: Inbox, sent: Sent) -> None:
        self._subject = subject
        self._net = net
        self._inbox = inbox
        self._sent = sent

    # -- in -------------------------------------------------------------------------------------------------------

    async def arrives(self, case: Case) -> None:
        """From a stranger to the domain's MX, into the mailbox."""
        await self._from_stranger(case, self._subject.account, await self._mx() or self._subject.domain)

    async def by_alias(self, case: Case) -> None:
        """To the alias; its mailbox is another address."""
        await self._from_stranger(case, self._subject.alias)

    async def is_forwarded(self, case: Case) -> None:
        """A rule of the second account sends its mail on to the first."""
        subject, name = self._subject, "postane-acceptance"
        door = next((one for one in subject.setup.services if one.name == "sieve"), None)
        if door is None:
            raise SkippedError("not_offered")

        def forward(session: Sieve) -> None:
            session.login(subject.copy, subject.password)
            session.put(name, f'redirect "{subject.account}";\r\n')
            session.ask(f'SETACTIVE "{name}"')
            session.ask("LOGOUT")

        def forget(session: Sieve) -> None:
            session.login(subject.copy, subject.password)
            session.ask('SETACTIVE ""')
            session.ask(f'DELETESCRIPT "{name}"')
            session.ask("LOGOUT")

        await self._net.talk(Sieve, case, door.host, door.port, forward)
        try:
            await self._from_stranger(case, subject.copy)
        finally:
            await self._net.talk(Sieve, Case(), door.host, door.port, forget)

    async def by_peer(self, case: Case) -> None:
        """Through a server outside, which finds the MX by itself."""
        host, _, port = self._subject.peer.rpartition(":")
        if not host:
            raise SkippedError("no_peer")
        token, subject = new_token(), self._subject
        await self._by(case, host.strip("[]"), int(port), "", lambda smtp: self._deliver(smtp, token, subject.account))
        await self._arrived(case, token, ECHO)

    async def spam_is_kept_out(self, case: Case) -> None:
        """Refused, into Junk, or into the quarantine."""
        subject, token = self._subject, new_token()
        if not subject.suspects:
            raise SkippedError("no_filter")
        try:
            await self._knock(case, lambda smtp: self._deliver(smtp, token, subject.account, f"{GTUBE}\r\n"))
        except RefusedError as error:
            if error.reply.code < 500:
                raise
            return
        end = time.monotonic() + _FILED
        while time.monotonic() < end:
            if await asyncio.to_thread(subject.held, token):
                case.note("quarantine")
                return
            try:
                found = await self._inbox.wait(token, 1.0)
            except FailedError as error:
                if error.reason.key != "not_arrived":
                    raise
                continue
            case.note(f"folder: {found.folder}")
            if found.folder != JUNK:
                raise FailedError("spam_in_inbox")
            return
        raise FailedError("spam_lost", seconds=f"{_FILED:.0f}")

    async def unknown_is_refused(self, case: Case) -> None:
        """At RCPT, so that no bounce is ever owed to a forged sender."""
        subject = self._subject
        if subject.catch_all:
            raise SkippedError("catch_all")
        await self._refused(case, f"postane-nobody-{new_token()}@{subject.domain}", "took_unknown")

    async def relay_is_refused(self, case: Case) -> None:
        """A stranger's mail to another domain."""
        await self._refused(case, _FOREIGN, "relays")

    # -- out ------------------------------------------------------------------------------------------------------

    async def goes_out(self, case: Case, service: Service) -> None:
        """By a submission door with the login; it comes back into the mailbox, where its signature is looked at."""
        subject, token, found = self._subject, new_token(), None
        try:
            await self._submit(
                case, service, lambda smtp: smtp.deliver(subject.account, subject.account, subject.own(token))
            )
            found = await self._arrived(case, token, ARRIVE)
        finally:
            self._sent.put(found)

    async def sender_is_held(self, case: Case) -> None:
        """Who is logged in cannot write as somebody else."""
        service = self._submission()
        other = self._subject.copy  # postmaster@ may lead to this very account, where there is no other

        def does(smtp: Smtp) -> Reply:
            reply = smtp.ask(f"MAIL FROM:<{other}>")
            return reply if not reply.good else smtp.ask(f"RCPT TO:<{self._subject.account}>")

        reply = await self._submit(case, service, does)
        if reply.good:
            raise FailedError("took_sender", sender=other)

    async def is_signed(self, case: Case) -> None:
        """DKIM, by the keys that the world sees."""
        if not self._subject.signs:
            raise SkippedError("no_signing")
        message = await self._outgoing()
        found = await signatures.verify(message, self._net.resolver.ask, time.time)
        for one in found:
            case.note(f"{one.domain} {one.selector}: {one.result.value} {one.reason}".rstrip())
        good = [one for one in found if one.result.value == "pass" and one.domain == self._subject.domain]
        if not good:
            raise FailedError("not_signed" if not found else "bad_signature", domain=self._subject.domain)

    async def is_aligned(self, case: Case) -> None:
        """What a receiver finds who gets this mail from our addresses: SPF, DKIM and DMARC."""
        message = await self._outgoing()
        subject = self._subject
        found = 0
        for address in subject.addresses or await self._net.addresses(subject.host):
            client = Client(ip_address(address), subject.host, subject.account, subject.host, time.time())
            about = await authenticate(message, client, self._net.resolver.ask, _AUTH_SECONDS)
            dmarc = about.dmarc
            case.note(
                f"{address}: spf={about.spf.result.value} ({about.spf.domain}), dmarc={dmarc.result.value} "
                f"p={dmarc.policy}, spf aligned: {dmarc.spf_aligned}, dkim aligned: {dmarc.dkim_aligned}"
            )
            if dmarc.result.value == "none":
                raise SkippedError("no_dmarc", domain=subject.domain)
            if dmarc.result.value != "pass":
                raise FailedError("not_aligned", address=address, said=dmarc.reason or dmarc.result.value)
            found += 1
        if not found:
            raise SkippedError("no_address", name=subject.host)

    async def bounces(self, case: Case) -> None:
        """A recipient that fails only after it was taken: the sender is told by a DSN (RFC 3464)."""
        subject, token = self._subject, new_token()
        mail = subject.mail(token, subject.account, _NOWHERE)
        try:
            await self._submit(case, self._submission(), lambda smtp: smtp.deliver(subject.account, _NOWHERE, mail))
        except RefusedError as error:
            if error.reply.code >= 500 and error.reason.values["command"].startswith("RCPT"):
                raise SkippedError("refused_at_once", said=error.reply) from error
            raise
        found = await self._inbox.wait(token, ARRIVE)
        case.note(*found.headers("Return-Path")[:1], *found.headers("Content-Type")[:1], *found.headers("Subject")[:1])
        text = found.octets.decode("utf-8", "replace")
        case.note(*[line for line in text.splitlines() if line.startswith(("Action:", "Status:", "Final-Recipient:"))])
        if "report-type=delivery-status" not in text.replace('"', "") or "Action: failed" not in text:
            raise FailedError("no_dsn")

    async def comes_back(self, case: Case) -> None:
        """To an address outside that answers."""
        subject, token = self._subject, new_token()
        if not subject.echo:
            raise SkippedError("no_echo")
        mail = subject.mail(token, subject.account, subject.echo)
        await self._submit(case, self._submission(), lambda smtp: smtp.deliver(subject.account, subject.echo, mail))
        found = await self._arrived(case, token, ECHO)
        case.note(*found.headers("From")[:1], *found.headers("Subject")[:1])
        if "report-type=delivery-status" in found.octets.decode("utf-8", "replace").replace('"', ""):
            raise FailedError("bounced", address=subject.echo)

    # -- what they share ------------------------------------------------------------------------------------------

    async def _from_stranger(self, case: Case, to: str, host: str = "") -> Arrived:
        token = new_token()
        await self._knock(case, lambda smtp: self._deliver(smtp, token, to), host)
        return await self._arrived(case, token, ARRIVE)

    async def _refused(self, case: Case, to: str, otherwise: str) -> None:
        def does(smtp: Smtp) -> Reply:
            smtp.ask(f"MAIL FROM:<{self._subject.stranger}>", 250)
            reply = smtp.ask(f"RCPT TO:<{to}>")
            smtp.ask("RSET")
            return reply

        reply = await self._knock(case, does)
        if reply.good:
            raise FailedError(otherwise, said=reply)
        if reply.code < 500:
            raise FailedError("refused", command="RCPT", said=reply)

    async def _knock(self, case: Case, does: Callable[[Smtp], R], host: str = "") -> R:
        """At the domain's MX, or at the host itself where none is found: that is told by the check of the MX, and hides
        no other. Who is asked to come again does.
        """
        if not host:
            with suppress(PostaneError):
                host = await self._mx()
        host = host or self._subject.host
        for pause in (*_AGAIN, 0.0):
            try:
                return await self._by(case, host, self._subject.mail_port, "", does)
            except RefusedError as error:
                if not (pause and error.reply.code in (450, 451) and "4.7." in error.reply.text):
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _mx(self) -> str:
        """Where the world brings the domain's mail, "" without MX; the host for one whose mail is still elsewhere."""
        if not self._subject.led_here:
            return self._subject.host
        found = await self._net.resolver.mail_hosts(self._subject.domain)
        return found[0].name if found else ""

    async def _submit(self, case: Case, service: Service, does: Callable[[Smtp], R]) -> R:
        subject = self._subject

        def work(smtp: Smtp) -> R:
            smtp.login(subject.account, subject.password)
            return does(smtp)

        return await self._by(case, service.host, service.port, service.security.value, work)

    async def _by(self, case: Case, host: str, port: int, security: str, does: Callable[[Smtp], R]) -> R:
        def work(smtp: Smtp) -> R:
            smtp.hello(self._subject.host, security)
            done = does(smtp)
            smtp.quit()
            return done

        return await self._net.talk(Smtp, case, host, port, work)

    def _deliver(self, smtp: Smtp, token: str, to: str, body: str = "") -> Reply:
        stranger = self._subject.stranger
        return smtp.deliver(stranger, to, self._subject.mail(token, stranger, to, body))

    async def _arrived(self, case: Case, token: str, seconds: float) -> Arrived:
        begun = time.monotonic()
        found = await self._inbox.wait(token, seconds)
        case.note(f"folder: {found.folder}, after {time.monotonic() - begun:.1f} s")
        case.note(*found.headers("Received")[:2], *found.headers("Authentication-Results")[:1])
        return found

    async def _outgoing(self) -> Message:
        found = await self._sent.get()
        if found is None:
            raise SkippedError("nothing_sent")
        return read([found.octets])

    def _submission(self) -> Service:
        service = self._subject.setup.best("smtp")
        if service is None:
            raise SkippedError("no_submission")
        return service
