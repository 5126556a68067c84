"""Which door a recipient leaves by."""

from __future__ import annotations

from collections.abc import Sequence

from postane.core.address import normal_domain
from postane.core.envelope import Recipient
from postane.core.errors import AddressError
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, Destination, Transport

LOCAL = Destination("local", local=True)


class Router:
    """A core.ports.Routes: mailboxes here by `local`, everything else by `remote`.

    With a smarthost all remote mail has one destination; without, each domain is one.
    """

    def __init__(self, local: Transport, remote: Transport, smarthost: str = "") -> None:
        self._local = local
        self._remote = remote
        self._smarthost = smarthost

    def destination(self, recipient: Recipient) -> Destination:
        if recipient.kind == "local":
            return LOCAL
        if self._smarthost:
            return Destination(self._smarthost)
        domain = recipient.address.rpartition("@")[2]
        try:
            return Destination(domain if domain.startswith("[") else normal_domain(domain))
        except AddressError:
            return Destination(domain.lower())  # the transport says what is wrong with it

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        transport = self._local if recipients[0].kind == "local" else self._remote
        return await transport.deliver(message, recipients)

    async def close(self) -> None:
        await self._local.close()
        await self._remote.close()
