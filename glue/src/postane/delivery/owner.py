"""Whether the mailbox that an address has now is the one that a message was accepted for.

An account can be removed while mail for it waits, and another one made with its address, perhaps for somebody else:
what was meant for the first never comes to the second.
"""

from __future__ import annotations

from collections.abc import Sequence

from postane.core.envelope import Envelope, Recipient
from postane.core.errors import TemporaryError
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, FindMailbox, Mailbox, Transport
from postane.core.reply import Reply

_GONE = Reply(550, "5.1.1", "No such mailbox")


async def owner(find: FindMailbox, envelope: Envelope, recipient: Recipient) -> Mailbox | Reply:
    """The mailbox, or what the sender reads."""
    try:
        found = await find(recipient.address)
    except TemporaryError as error:
        return Reply(451, "4.3.0", str(error))
    return found if found is not None and is_for(found, envelope, recipient) else _GONE


def is_for(mailbox: Mailbox, envelope: Envelope, recipient: Recipient) -> bool:
    """Where the recipient names no mailbox (0) it is told by the time."""
    if recipient.mailbox:
        return recipient.mailbox == mailbox.id
    return envelope.received_at >= mailbox.since


class OwnersOnly:
    """A core.ports.Transport before another, which is given the recipients whose mailbox is still the same."""

    def __init__(self, inner: Transport, find: FindMailbox, remote: str) -> None:
        """`remote` names the door in outcomes of those who are not."""
        self._inner = inner
        self._find = find
        self._remote = remote

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        refused: dict[str, Reply] = {}
        theirs: list[Recipient] = []
        for recipient in recipients:
            found = await owner(self._find, message.envelope, recipient)
            if isinstance(found, Reply):
                refused[recipient.address] = found
            else:
                theirs.append(recipient)
        outcomes = await self._inner.deliver(message, theirs) if theirs else []
        if not refused:
            return outcomes
        said = {one.recipient: one for one in outcomes}
        said |= {address: Outcome.from_reply(address, reply, self._remote) for address, reply in refused.items()}
        return [said[recipient.address] for recipient in recipients]

    async def close(self) -> None:
        await self._inner.close()
