"""Questions to a resolver that checks signatures: records of any kind, and whether they are authentic (the AD bit).

The bit is worth what the way to the resolver is: the host's own one by loopback, or one that the operator trusts.
Source: RFC 4035 section 3.2.3, RFC 6840 section 5.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.resolver

from postane.config.model import Dns
from postane.core.errors import TemporaryError
from postane.dns.authority import PAYLOAD
from postane.dns.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Secured:
    """`records` in the form of zone files; `authentic`: the resolver vouches for them, also for that there are none."""

    records: tuple[str, ...]
    authentic: bool


class SecuredResolver(Resolver):
    """A resolver that asks for signatures to be checked."""

    def __init__(self, settings: Dns) -> None:
        super().__init__(settings)
        self._resolver.use_edns(0, dns.flags.DO, PAYLOAD)
        self._resolver.flags = dns.flags.RD | dns.flags.AD

    async def secured(self, name: str, kind: str) -> Secured:
        """Asked anew each time. Raises TemporaryError: signatures that do not fit are one, too (SERVFAIL)."""
        try:
            answer = await self._resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            responses = error.kwargs["responses"].values()
            return Secured((), all(response.flags & dns.flags.AD for response in responses))
        except (dns.exception.DNSException, OSError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise TemporaryError(f"DNS: {name} {kind}: {said}") from error
        records = tuple(rr.to_text() for rr in answer.rrset) if answer.rrset is not None else ()
        return Secured(records, bool(answer.response.flags & dns.flags.AD))
