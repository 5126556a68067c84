"""SPF once a transaction and authentication once a message, however many filters go by them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from ipaddress import ip_address

from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.question import Ask
from postane.filters.auth import dialogue
from postane.filters.auth.authenticate import Authentication, authenticate
from postane.filters.auth.message import read
from postane.filters.auth.public_suffix import by_list
from postane.filters.auth.spf import Checked, Client, check_host
from postane.filters.auth.spf_record import Result
from postane.filters.base import Tools

KEPT = 10_000  # results of SPF in memory
LIFE = 300.0  # seconds; nearly every transaction takes less
_LIFE_OF_FAILURES = 10.0
_BESIDE = 256 * 1024  # octets; hashing more than that would hold up the other sessions

_Key = tuple[str, str, str]


class SpfResults:
    """The result is a function of client, HELO and sender for as long as the DNS answers hold: remembered by these.

    Who asks while the check is under way waits for it; who gives up takes it from nobody.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[_Key, tuple[float, asyncio.Future[Checked]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    async def get(self, client: Client, ask: Ask, seconds: float) -> Checked:
        """`client.now` is the time by which results grow old. Raises what `ask` raises."""
        key = (str(client.ip), client.helo, client.mail_from)
        until, found = self._results.get(key, (0.0, None))
        if found is None or until <= client.now:
            found = asyncio.ensure_future(dialogue.run(check_host(client), ask, seconds))
            self._results[key] = (client.now + LIFE, found)
            self._results.move_to_end(key)
            found.add_done_callback(lambda done: self._done(key, done, client.now))
            if len(self._results) > KEPT:
                self._results.popitem(last=False)
        return await asyncio.shield(found)

    def _done(self, key: _Key, done: asyncio.Future[Checked], now: float) -> None:
        if self._results.get(key, (0.0, None))[1] is not done:
            return
        if done.cancelled() or done.exception() is not None:
            del self._results[key]
        elif done.result().result is Result.TEMPERROR:
            self._results[key] = (now + _LIFE_OF_FAILURES, done)


def client(tools: Tools, peer: Peer, sender: str) -> Client:
    """Who sends, as the evaluators want it."""
    return Client(ip_address(peer.ip), peer.helo, sender, tools.host, tools.now())


async def spf(tools: Tools, ask: Ask, peer: Peer, sender: str, seconds: float) -> Checked:
    """SPF of a transaction. `seconds` for all questions; then the result is temperror."""
    return await tools.shared("spf", SpfResults).get(client(tools, peer, sender), ask, seconds)


async def authenticated(
    tools: Tools, ask: Ask, peer: Peer, envelope: Envelope, body: Body, seconds: float, *, suffix_list: bool = False
) -> Authentication:
    """SPF, DKIM, ARC, DMARC and iprev of a message. `suffix_list`: how the organisation is found."""

    async def make() -> Authentication:
        chunks = body.chunks()
        beside = asyncio.get_running_loop().run_in_executor
        message = await beside(None, read, chunks) if body.size > _BESIDE else read(chunks)
        who = client(tools, peer, envelope.sender)
        checked = tools.shared("spf", SpfResults).get(who, ask, seconds)
        return await authenticate(message, who, ask, seconds, by_list(tools.state) if suffix_list else None, checked)

    return await tools.once(envelope.id, f"authentication {suffix_list}", make)
