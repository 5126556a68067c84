"""The store of several hosts: a Redis server (7 or later), the one doorway to its client.

Buckets and counters are scripts that run in the server, by the server's own clock, so hosts need not agree on the time
of day. Every key expires. One connection a process: what is asked together goes in one round trip.

What can fail: the server is away, late, full (`maxmemory`) or loading. A connection that turns out to be closed is made
anew at once; a server that does not answer is left alone for a second, in which every question fails without a wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ReadOnlyError, RedisError

from postane.core.errors import ServiceMissingError
from postane.filters.store.batch import Add, BatchedStore, Get, Operation, Put, Take
from postane.filters.store.place import Server
from postane.observe.metrics import Metrics

PREFIX = "postane:"

_SECONDS = 1.5  # for one round trip, connecting included
_PAUSE = 1.0  # seconds without a question after one that failed

# filters.store.bucket.spend, once more. Numbers go back as text: Redis would cut them to whole ones.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local waits, filled, granted = {}, {}, true
for i, key in ipairs(KEYS) do
    local at = (i - 1) * 4
    local cost, need = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local rate, burst = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local whole = burst / rate
    local start = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + whole)
    local wait = start + need / rate - now - whole
    if need > burst then wait = math.huge elseif wait <= 0.000001 then wait = 0 end
    if wait > 0 then granted = false end
    waits[i] = string.format('%.6f', wait)
    filled[i] = cost > 0 and start + cost / rate
end
if granted then
    for i, key in ipairs(KEYS) do
        if filled[i] then
            local life = math.max(1, math.ceil((filled[i] - now) * 1000))
            redis.call('SET', key, string.format('%.6f', filled[i]), 'PX', life)
        end
    end
end
return waits
"""
_ADD = """
local value = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return value
"""


class RedisStore(BatchedStore):
    """`password` is a file, read at each new connection; None: the server wants none."""

    def __init__(self, server: Server, password: Path | None, metrics: Metrics) -> None:
        super().__init__(metrics)
        self._server = server
        self._password = password
        self._redis: Redis | None = None
        self._again_at = 0.0
        self._failed = ""

    async def _run(self, operations: Sequence[Operation]) -> Sequence[Any]:
        if time.monotonic() < self._again_at:
            raise ServiceMissingError(self._failed)
        try:
            async with asyncio.timeout(_SECONDS):
                answers = await self._trip(operations)
        except (RedisError, OSError, TimeoutError) as error:
            await self._release()
            reason = f"no answer within {_SECONDS:g} s" if isinstance(error, TimeoutError) else str(error)
            self._failed = f"{self._server}: {reason or repr(error)}"
            self._again_at = time.monotonic() + _PAUSE
            raise ServiceMissingError(self._failed) from error
        return [_read(operation, answer) for operation, answer in zip(operations, answers, strict=True)]

    async def _trip(self, operations: Sequence[Operation]) -> list[Any]:
        known = self._redis is not None
        try:
            return await self._ask_all(operations)
        except (LostError, ReadOnlyError):
            if not known:
                raise
        # The server was started anew, has closed a connection that was idle for long, or is no longer the first one.
        await self._release()
        return await self._ask_all(operations)

    async def _ask_all(self, operations: Sequence[Operation]) -> list[Any]:
        if self._redis is None:
            self._redis = await self._connect()
        pipe = self._redis.pipeline(transaction=False)
        for operation in operations:
            _put_in(pipe, operation)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        lost = next((answer for answer in answers if isinstance(answer, LostError | ReadOnlyError)), None)
        if lost is not None:  # loading its data, for one
            raise lost
        return answers

    async def _connect(self) -> Redis:
        server = self._server
        password = None
        if self._password is not None:
            text = await asyncio.get_running_loop().run_in_executor(None, self._password.read_text, "utf-8")
            password = text.strip().removeprefix("requirepass ").strip()  # as Redis has it in its own configuration
        where: dict[str, Any] = (
            {"unix_socket_path": server.path} if server.path else {"host": server.host, "port": server.port}
        )
        return Redis(
            **where,
            ssl=server.tls,
            db=server.db,
            username=server.user or None,
            password=password,
            max_connections=1,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )

    async def _release(self) -> None:
        client, self._redis = self._redis, None
        if client is not None:
            with suppress(RedisError, OSError, TimeoutError):
                await client.aclose(close_connection_pool=True)


def _put_in(pipe: Pipeline, operation: Operation) -> None:
    match operation:
        case Take(charges):
            numbers = [
                repr(float(number))
                for one in charges
                for number in (one.cost, one.cost if one.need is None else one.need, one.rate, one.burst)
            ]
            pipe.eval(_TAKE, len(charges), *(f"{PREFIX}bucket:{one.key}" for one in charges), *numbers)
        case Get(key):
            pipe.get(f"{PREFIX}{key}")
        case Put(key, value, seconds):
            pipe.set(f"{PREFIX}{key}", value, px=_milliseconds(seconds))
        case Add(key, by, seconds):
            pipe.eval(_ADD, 1, f"{PREFIX}{key}", by, _milliseconds(seconds))


def _read(operation: Operation, answer: Any) -> Any:
    if isinstance(answer, Exception):
        return answer
    match operation:
        case Take():
            return [float(wait) for wait in answer]
        case Put():
            return None
        case Get() | Add():
            return answer


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
