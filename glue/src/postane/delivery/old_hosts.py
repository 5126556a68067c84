"""The servers that had a domain's mail before it came here, in the place of its MX, which leads here now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from postane.core.errors import TemporaryError
from postane.delivery.mx import Lookup, MailHost, OwnHost

Remembered = Callable[[str], Awaitable[Sequence[str]]]
"""Their names for a domain, the preferred first; may raise TemporaryError."""


@dataclass(frozen=True, slots=True)
class _Host:
    preference: int
    name: str


class OldHosts:
    """A delivery.mx.Lookup. `inner` knows the addresses of names; `ours` are passed over: both may have had it."""

    def __init__(self, inner: Lookup, remembered: Remembered, ours: OwnHost) -> None:
        self._inner = inner
        self._remembered = remembered
        self._ours = ours

    async def mail_hosts(self, domain: str) -> Sequence[MailHost]:
        names = [name for name in await self._remembered(domain) if not self._ours.is_name(name)]
        if not names:
            # The domain itself would be asked for in place of an MX, and that may be anybody.
            raise TemporaryError(f"no earlier MX of {domain} is known: postane domain show {domain} --look")
        return [_Host(at, name) for at, name in enumerate(names)]

    async def addresses(self, host: str, *, ipv6: bool = True) -> Sequence[str]:
        return await self._inner.addresses(host, ipv6=ipv6)
