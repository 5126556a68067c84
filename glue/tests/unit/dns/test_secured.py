from __future__ import annotations

import asyncio

import dns.rcode
import pytest

from postane.config.model import Dns
from postane.core.errors import TemporaryError
from postane.dns.secured import Secured, SecuredResolver
from support.dns import NameServer

NAME, DATA = "_25._tcp.mx.a.test", "3 1 1 " + "ab" * 32


def asked(name: str, kind: str, *, authentic: bool) -> Secured:
    async def work() -> Secured:
        server = NameServer()
        server.authentic = authentic
        server.add(NAME, "TLSA", DATA)
        server.faults["bogus.a.test"] = dns.rcode.SERVFAIL
        server.faults["silent.a.test"] = None
        resolver = SecuredResolver(Dns(nameservers=(await server.start(),), timeout=1.0))
        try:
            return await resolver.secured(name, kind)
        finally:
            server.stop()

    return asyncio.run(work())


@pytest.mark.parametrize("authentic", [True, False])
def test_whether_the_resolver_vouches(authentic: bool) -> None:
    assert asked(NAME, "TLSA", authentic=authentic) == Secured((DATA,), authentic)
    assert asked(NAME, "SRV", authentic=authentic) == Secured((), authentic)
    assert asked("none.b.test", "TLSA", authentic=authentic) == Secured((), authentic)


@pytest.mark.parametrize("name", ["bogus.a.test", "silent.a.test"])
def test_what_is_not_known(name: str) -> None:
    with pytest.raises(TemporaryError):
        asked(name, "TLSA", authentic=True)
