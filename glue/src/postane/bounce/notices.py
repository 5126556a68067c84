"""Who is told of what, and where the notice goes: a core.ports.Notices.

A notice has the null sender, and what has the null sender is never answered: there is no bounce of a bounce.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from postane.bounce.report import Report, build
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import AddressError, CorruptSpoolError
from postane.core.outcome import Action, Outcome
from postane.core.ports import Claimed, FindMailbox, Notice, Now, Resolved
from postane.observe.log import get_logger

log = get_logger("bounce")

Resolve = Callable[[Address], Awaitable[Resolved]]

_WORD = {Action.FAILED: Notify.FAILURE, Action.DELAYED: Notify.DELAY}


class DsnNotices:
    """Makes notices in the name of `host`."""

    def __init__(self, host: str, resolve: Resolve, find: FindMailbox, now: Now, language: str = "en") -> None:
        """`resolve` and `find` are the directory's: the sender of a message may be an alias, or gone."""
        self._host = host
        self._resolve = resolve
        self._find = find
        self._now = now
        self._language = language

    def owed(self, action: Action, envelope: Envelope, recipient: Recipient) -> bool:
        """RFC 3461 section 4.1: without NOTIFY= the sender hears of failure and delay."""
        # The sender of suspect mail is mostly not who it says.
        if not envelope.sender or recipient.kind == "quarantine":
            return False
        word = _WORD.get(action, Notify.SUCCESS)
        if not recipient.notify:
            return word is not Notify.SUCCESS
        return word in recipient.notify

    async def make(
        self, action: Action, message: Claimed, about: Sequence[tuple[Recipient, Outcome]], *, new_id: str, until: float
    ) -> Notice | None:
        envelope = message.envelope
        recipients, tenant = await self._to(envelope)
        if not recipients:
            log.warning("notice dropped: its recipient does not exist", trace_id=envelope.id, to=envelope.sender)
            return None
        try:
            original = list(message.chunks())
        except CorruptSpoolError as error:
            # The sender hears of the failure even if what was sent cannot be shown.
            log.error("message is damaged", trace_id=envelope.id, reason=str(error))
            original = []
        now = self._now()
        report = Report(self._host, new_id, action, envelope, about, now, until, self._language)
        body = build(report, original, message.size)
        smtputf8 = report.utf8 or not envelope.sender.isascii()
        notice = Envelope(
            id=new_id,
            sender="",
            recipients=recipients,
            received_at=now,
            smtputf8=smtputf8,
            body_8bit=any(not bytes(piece).isascii() for piece in body.chunks()),
            tenant=tenant or envelope.tenant,
        )
        return Notice(notice, b"", body)

    async def _to(self, envelope: Envelope) -> tuple[tuple[Recipient, ...], str]:
        try:
            sender = Address.parse(envelope.sender)
        except AddressError:
            return (), ""
        resolved = await self._resolve(sender)
        # RFC 3461 section 5.2.9: a notice asks for no notice.
        never = (Notify.NEVER,)
        if not resolved.known_domain:
            return (Recipient(envelope.sender, envelope.sender, "remote", never),), ""
        targets = [replace(r, notify=never) for r in resolved.targets if await self._theirs(r, envelope)]
        return tuple(targets), resolved.tenant

    async def _theirs(self, recipient: Recipient, envelope: Envelope) -> bool:
        """What somebody has sent is not told to who has got the address since."""
        if recipient.kind != "local":
            return True
        mailbox = await self._find(recipient.address)
        return mailbox is not None and mailbox.since <= envelope.received_at
