"""A resolver on loopback over one name server, for those who expect that aliases are followed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype


class _Recursor(asyncio.DatagramProtocol):
    """Follows aliases, as a resolver does, by asking one server again and again."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        name, kind = query.question[0].name, query.question[0].rdtype
        for _ in range(8):
            said = dns.query.udp(dns.message.make_query(name, kind), self._server[0], 2, self._server[1])
            response.answer += said.answer
            response.set_rcode(said.rcode())
            aliases = [rrset for rrset in said.answer if rrset.rdtype == dns.rdatatype.CNAME]
            if not aliases or kind == dns.rdatatype.CNAME or any(one.rdtype == kind for one in said.answer):
                break
            name = aliases[-1][0].target
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@contextmanager
def recursor(port: int) -> Iterator[str]:
    """The host:port of one that asks the server at this port of loopback, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    making = loop.create_datagram_endpoint(lambda: _Recursor("127.0.0.1", port), local_addr=("127.0.0.1", 0))
    transport, _ = asyncio.run_coroutine_threadsafe(making, loop).result(5)
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        loop.call_soon_threadsafe(transport.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
