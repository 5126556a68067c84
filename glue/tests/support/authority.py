"""A small tree of name servers on loopback: each at an address of its own, all at one port; UDP, in the test's loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class Server(asyncio.DatagramProtocol):
    """Serves `zones`: for each its records as lines `name TTL TYPE data`. A name with NS below a zone's apex is a
    delegation, its A lines are glue. `fault`: an rcode for every question, or "silent".
    """

    def __init__(self, zones: dict[str, str]) -> None:
        self.zones = {
            zone: [tuple(line.strip().split(None, 3)) for line in lines.splitlines() if line.strip()]
            for zone, lines in zones.items()
        }
        self.fault: str = ""
        self.questions: list[tuple[str, str]] = []
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.questions.append((name, kind))
        if self.fault == "silent":
            return
        response = dns.message.make_response(query)
        if self.fault:
            response.set_rcode(dns.rcode.from_text(self.fault))
        else:
            self._answer(response, name, kind)
        assert self.transport is not None
        self.transport.sendto(response.to_wire(), addr)

    def _answer(self, response: dns.message.Message, name: str, kind: str) -> None:
        inside = [zone for zone in self.zones if not zone or name == zone or name.endswith(f".{zone}")]
        if not inside:
            response.set_rcode(dns.rcode.REFUSED)
            return
        zone = max(inside, key=len)
        records = self.zones[zone]
        cuts = [one[0] for one in records if one[2] == "NS" and one[0] != (zone or ".")]
        cut = next((one for one in cuts if name == one or name.endswith(f".{one}")), "")
        if cut:
            servers = [one for one in records if one[0] == cut and one[2] == "NS"]
            response.authority += _sets(servers)
            targets = {one[3].rstrip(".") for one in servers}
            response.additional += _sets([one for one in records if one[0] in targets and one[2] in ("A", "AAAA")])
            return
        response.flags |= dns.flags.AA
        here = [one for one in records if one[0].rstrip(".") == name]
        found = [one for one in here if one[2] in (kind, "CNAME")]
        response.answer += _sets(found)
        if not found:
            soa = f"ns.{zone}. host.{zone}. 1 2 3 4 5" if zone else "ns. host. 1 2 3 4 5"
            response.authority += _sets([(zone or ".", "60", "SOA", soa)])
            if not here and not any(one[0].endswith(f".{name}") for one in records):
                response.set_rcode(dns.rcode.NXDOMAIN)


def _sets(records: Iterable[tuple[str, ...]]) -> list[dns.rrset.RRset]:
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for one in records:
        found.setdefault((one[0], one[2]), []).append(one)
    return [
        dns.rrset.from_text(dns.name.from_text(name), int(several[0][1]), "IN", kind, *(one[3] for one in several))
        for (name, kind), several in found.items()
    ]


async def serve(servers: dict[str, Server]) -> int:
    """Starts each at its address (127.0.0.x); the port they all have."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    loop = asyncio.get_running_loop()
    for address, server in servers.items():

        def made(server: Server = server) -> Server:
            return server

        server.transport, _ = await loop.create_datagram_endpoint(made, local_addr=(address, port))
    return port


def stop(servers: dict[str, Server]) -> None:
    for server in servers.values():
        if server.transport is not None:
            server.transport.close()
