"""SPF once a transaction, the name of an address once a while, authentication once a message, whoever goes by them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Generic, TypeVar

from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.question import Ask
from postane.filters.auth import dialogue
from postane.filters.auth.authenticate import NAME_SECONDS, Authentication, authenticate
from postane.filters.auth.iprev import Result as Name
from postane.filters.auth.iprev import Reverse, iprev
from postane.filters.auth.message import read
from postane.filters.auth.public_suffix import by_list
from postane.filters.auth.spf import Checked, Client, check_host
from postane.filters.auth.spf_record import Result
from postane.filters.base import Tools

KEPT = 10_000  # results of SPF in memory
LIFE = 300.0  # seconds; nearly every transaction takes less
_LIFE_OF_FAILURES = 10.0
_BESIDE = 256 * 1024  # octets; hashing more than that would hold up the other sessions

_Key = tuple[str, ...]
T = TypeVar("T")


class Results(Generic[T]):
    """A result is a function of its key for as long as the DNS answers hold: remembered by it.

    Who asks while the check is under way waits for it; who gives up takes it from nobody. `unsure` says which results
    are soon asked for again.
    """

    def __init__(self, unsure: Callable[[T], bool]) -> None:
        self._results: OrderedDict[_Key, tuple[float, asyncio.Future[T]]] = OrderedDict()
        self._unsure = unsure

    def __len__(self) -> int:
        return len(self._results)

    async def get(self, key: _Key, now: float, make: Callable[[], Coroutine[None, None, T]]) -> T:
        """`now` is the time by which results grow old. Raises what `make` raises."""
        until, found = self._results.get(key, (0.0, None))
        if found is None or until <= now:
            found = asyncio.ensure_future(make())
            self._results[key] = (now + LIFE, found)
            self._results.move_to_end(key)
            found.add_done_callback(lambda done: self._done(key, done, now))
            if len(self._results) > KEPT:
                self._results.popitem(last=False)
        elif found.done():
            return found.result()
        return await asyncio.shield(found)

    def _done(self, key: _Key, done: asyncio.Future[T], now: float) -> None:
        if self._results.get(key, (0.0, None))[1] is not done:
            return
        if done.cancelled() or done.exception() is not None:
            del self._results[key]
        elif self._unsure(done.result()):
            self._results[key] = (now + _LIFE_OF_FAILURES, done)


class SpfResults(Results[Checked]):
    """Of SPF, by client, HELO and sender."""

    def __init__(self) -> None:
        super().__init__(lambda checked: checked.result is Result.TEMPERROR)

    async def of(self, client: Client, ask: Ask, seconds: float) -> Checked:
        """Raises what `ask` raises."""
        key = (str(client.ip), client.helo, client.mail_from)
        return await self.get(key, client.now, lambda: dialogue.run(check_host(client), ask, seconds))


class Names(Results[Reverse]):
    """Of addresses (iprev), by address."""

    def __init__(self) -> None:
        super().__init__(lambda reverse: reverse.result is Name.TEMPERROR)

    async def of(self, ip: str, ask: Ask, seconds: float, now: float) -> Reverse:
        """Raises what `ask` raises."""
        return await self.get((ip,), now, lambda: dialogue.run(iprev(ip_address(ip)), ask, seconds))


def client(tools: Tools, peer: Peer, sender: str) -> Client:
    """Who sends, as the evaluators want it."""
    return Client(ip_address(peer.ip), peer.helo, sender, tools.host, tools.now())


async def spf(tools: Tools, ask: Ask, peer: Peer, sender: str, seconds: float) -> Checked:
    """SPF of a transaction. `seconds` for all questions; then the result is temperror."""
    return await tools.shared("spf", SpfResults).of(client(tools, peer, sender), ask, seconds)


async def reverse_name(tools: Tools, ask: Ask, ip: str, seconds: float) -> Reverse:
    """The name of a client's address, and whether it leads back. `seconds` for all questions; then it is temperror."""
    return await tools.shared("names", Names).of(ip, ask, seconds, tools.now())


async def authenticated(
    tools: Tools, ask: Ask, peer: Peer, envelope: Envelope, body: Body, seconds: float, *, suffix_list: bool = False
) -> Authentication:
    """SPF, DKIM, ARC, DMARC and iprev of a message. `suffix_list`: how the organisation is found."""

    async def make() -> Authentication:
        chunks = body.chunks()
        beside = asyncio.get_running_loop().run_in_executor
        message = await beside(None, read, chunks) if body.size > _BESIDE else read(chunks)
        who = client(tools, peer, envelope.sender)
        suffixes = by_list(tools.state) if suffix_list else None
        checked = tools.shared("spf", SpfResults).of(who, ask, seconds)
        reverse = reverse_name(tools, ask, peer.ip, min(seconds, NAME_SECONDS))
        return await authenticate(message, who, ask, seconds, suffixes, checked, reverse)

    return await tools.once(envelope.id, f"authentication {suffix_list}", make)
