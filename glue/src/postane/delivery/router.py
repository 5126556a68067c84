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

    With a smarthost all remote mail has one destination; without, each domain is one. `elsewhere` takes what a domain
    here has still at the host that it comes from.
    """

    def __init__(
        self,
        local: Transport,
        remote: Transport,
        smarthost: str = "",
        quarantine: Transport | None = None,
        elsewhere: Transport | None = None,
    ) -> None:
        self._local = local
        self._remote = remote
        self._smarthost = smarthost
        # Without a quarantine such mail goes into the mailbox it was meant for.
        self._quarantine = quarantine or local
        self._elsewhere = elsewhere or remote

    def destination(self, recipient: Recipient) -> Destination:
        if recipient.kind == "local":
            return LOCAL
        if recipient.kind == "quarantine":
            return QUARANTINE
        if recipient.kind == "elsewhere":
            return Destination(f"old host of {recipient.address.rpartition('@')[2]}")
        if self._smarthost:
            return Destination(self._smarthost)
        domain = recipient.address.rpartition("@")[2]
        try:
            return Destination(domain if domain.startswith("[") else normal_domain(domain))
        except AddressError:
            return Destination(domain.lower())  # the transport says what is wrong with it

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        ways = {"local": self._local, "quarantine": self._quarantine, "elsewhere": self._elsewhere}
        return await ways.get(recipients[0].kind, self._remote).deliver(message, recipients)

    async def close(self) -> None:
        await self._local.close()
        if self._quarantine is not self._local:
            await self._quarantine.close()
        if self._elsewhere is not self._remote:
            await self._elsewhere.close()
        await self._remote.close()
