"""A name server on loopback that knows what a test tells it: UDP, in the test's own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """`records` by (name, type), each a list of texts; a name with any record exists. `faults` by name: an rcode.

    A fault of None is silence. A CNAME is given as it is, without what it leads to. `zones` is for all that lies below
    a name: A records that each name there has, or None for silence. `authentic`: it says that it checks signatures.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.faults: dict[str, dns.rcode.Rcode | None] = {}
        self.zones: dict[str, list[str] | None] = {}
        self.questions: list[tuple[str, str]] = []
        self.ttl = 300
        self.authentic = False
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> str:
        """Returns host:port."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def stop(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def add(self, name: str, kind: str, *texts: str) -> None:
        self.records.setdefault((name, kind), []).extend(texts)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | (dns.flags.AD if self.authentic else 0)
        zone = next((zone for zone in self.zones if name.endswith(f".{zone}")), "")
        if zone:
            wild = self.zones[zone]
            if wild is None:
                return
            if kind == "A":
                response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", "A", *wild))
        elif name in self.faults:
            fault = self.faults[name]
            if fault is None:
                return
            response.set_rcode(fault)
        elif (name, kind) in self.records:
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *self.records[name, kind]))
        elif (name, "CNAME") in self.records:
            target = self.records[name, "CNAME"]
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", "CNAME", *target))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@contextmanager
def name_server() -> Iterator[tuple[NameServer, str]]:
    """One in a thread of its own, for a service that runs elsewhere; and its host:port."""
    server = NameServer()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server, asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(server.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
