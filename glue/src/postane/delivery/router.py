"""Which door a recipient leaves by."""

from __future__ import annotations

from collections.abc import Sequence

from postane.core.address import normal_domain
from postane.core.envelope import Recipient
from postane.core.errors import AddressError
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, Destination, Transport

LOCAL = Destination("local", local=True)
QUARANTINE = Destination("quarantine", local=True)


class Router:
    """A core.ports.Routes: mailboxes here by `local`, what is suspect by `quarantine`, everything else by `remote`.

    With a smarthost all remote mail has one destination; without, each domain is one.
    """

    def __init__(
        self, local: Transport, remote: Transport, smarthost: str = "", quarantine: Transport | None = None
    ) -> None:
        self._local = local
        self._remote = remote
        self._smarthost = smarthost
        # Without a quarantine such mail goes into the mailbox it was meant for.
        self._quarantine = quarantine or local

    def destination(self, recipient: Recipient) -> Destination:
        if recipient.kind == "local":
            return LOCAL
        if recipient.kind == "quarantine":
            return QUARANTINE
        if self._smarthost:
            return Destination(self._smarthost)
        domain = recipient.address.rpartition("@")[2]
        try:
            return Destination(domain if domain.startswith("[") else normal_domain(domain))
        except AddressError:
            return Destination(domain.lower())  # the transport says what is wrong with it

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        kind = recipients[0].kind
        transport = self._local if kind == "local" else self._quarantine if kind == "quarantine" else self._remote
        return await transport.deliver(message, recipients)

    async def close(self) -> None:
        await self._local.close()
        if self._quarantine is not self._local:
            await self._quarantine.close()
        await self._remote.close()
