"""The operator's socket: one JSON request a line, one JSON answer a line (`postane queue` is its client).

Who may write to the socket may steer the queue: it is made 0660 in the runtime folder.
A verb that changes something changes all messages that the filter names; `dry_run` only counts and lists them.
What was changed is on the disk before the answer is given.
A request with a key `part` is for another part of the queue process, which answers it in its own words.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from postane.core.envelope import Envelope
from postane.core.errors import CorruptSpoolError, PostaneError
from postane.observe.log import get_logger
from postane.queue.job import Entry, Job, State
from postane.queue.runner import QueueRunner

log = get_logger("queue")

SOCKET = "queue.sock"
MAX_REQUEST = 1 << 20
_STRIDE = 1000  # messages that are looked at in one turn of the event loop
Verb = Literal["list", "show", "hold", "release", "retry", "drop", "stats"]


class Filter(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which messages are meant; what is empty asks nothing. Text is compared without case.

    `tenant` is a tenant's name;
    `sender` and `recipient` are an address or a part of one; `domain` is the domain of the sender or of a recipient;
    `reason` is found in the last words of a server; `older` is an age in seconds.
    """

    ids: tuple[str, ...] = ()
    tenant: str = ""
    sender: str = ""
    recipient: str = ""
    domain: str = ""
    destination: str = ""
    reason: str = ""
    older: float = 0.0
    held: bool | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    do: Verb
    filter: Filter = Filter()
    dry_run: bool = False
    limit: int = 1000


class _Addressed(msgspec.Struct, frozen=True):
    part: str = ""


Part = Callable[[bytes], Awaitable[bytes]]
"""Answers one request, a line of JSON. Never raises."""


class RecipientView(msgspec.Struct, frozen=True):
    """`state`: ready, waiting, running, held, or the fate of a recipient that is done. Times are Unix seconds."""

    address: str
    original: str
    destination: str
    state: str
    attempts: int = 0
    next_attempt: float = 0.0
    reply: str = ""
    remote: str = ""


class MessageView(msgspec.Struct, frozen=True):
    id: str
    sender: str
    tenant: str
    size: int
    received_at: float
    age: float
    expires_at: float
    held: bool
    recipients: tuple[RecipientView, ...]
    headers: str = ""


class DestinationView(msgspec.Struct, frozen=True):
    """A destination that is not tried now: how often nobody answered in a row (0: it wants a pause), and until when."""

    name: str
    failures: int
    next_trial: float
    reply: str


class Stats(msgspec.Struct, frozen=True):
    messages: int
    octets: int
    oldest_age: float
    held: int
    running: int
    deliveries: dict[str, int]
    destinations: dict[str, int]
    closed: tuple[DestinationView, ...]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`count` messages were meant; `messages` shows at most `limit` of them. `error` is one sentence."""

    error: str = ""
    count: int = 0
    messages: tuple[MessageView, ...] = ()
    stats: Stats | None = None


class Control:
    """Answers requests out of a running queue."""

    def __init__(self, runner: QueueRunner, parts: Mapping[str, Part] | None = None) -> None:
        """`parts`: who else answers here, by its name."""
        self._runner = runner
        self._parts = parts or {}
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        """Listens at `path`; a socket left by a dead process gives way."""
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - once, at start
        self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_REQUEST)
        path.chmod(0o660)  # noqa: ASYNC240

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                part = self._part(line)
                said = await part(line) if part is not None else msgspec.json.encode(await self.answer(line))
                writer.write(said + b"\n")
                await writer.drain()
        writer.close()

    def _part(self, line: bytes) -> Part | None:
        with suppress(msgspec.DecodeError):
            return self._parts.get(msgspec.json.decode(line, type=_Addressed).part)
        return None

    async def answer(self, line: bytes) -> Answer:
        """The answer to one request. Never raises."""
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.DecodeError as error:
            return Answer(error=f"the request is not understood: {error}")
        try:
            return await self._do(request)
        except PostaneError as error:
            return Answer(error=str(error))
        except Exception:
            log.error("a request of the operator failed", do=request.do, exc_info=True)
            return Answer(error="the queue could not do it; its log says why")

    async def _do(self, request: Request) -> Answer:
        runner = self._runner
        now = runner.now()
        chosen = await select(runner.entries.values(), request.filter, runner, now)
        if request.do == "stats":
            return Answer(count=len(chosen), stats=stats(chosen, runner, now))
        headers = request.do == "show"
        # Shown as it was before the change: that is what the operator decided upon.
        views = tuple(view(entry, runner, now, headers=headers) for entry in chosen[: request.limit])
        act = {"hold": runner.hold, "release": runner.release, "retry": runner.retry, "drop": runner.drop}
        if request.do in act and not request.dry_run:
            for number, entry in enumerate(chosen):
                if number % _STRIDE == _STRIDE - 1:
                    await asyncio.sleep(0)
                if runner.entries.get(entry.id) is entry:  # else it ended meanwhile
                    act[request.do](entry)
            log.info("steered by the operator", do=request.do, messages=len(chosen))
            await runner.synced()
        return Answer(count=len(chosen), messages=views)


async def select(entries: Iterable[Entry], wanted: Filter, runner: QueueRunner, now: float) -> list[Entry]:
    """The messages that are meant, oldest first. Mail goes on meanwhile, however many there are."""
    chosen = []
    for number, entry in enumerate(list(entries)):
        if number % _STRIDE == _STRIDE - 1:
            await asyncio.sleep(0)
        if _matches(entry, wanted, runner, now):
            chosen.append(entry)
    return sorted(chosen, key=lambda entry: entry.id)


def _matches(entry: Entry, wanted: Filter, runner: QueueRunner, now: float) -> bool:
    if wanted.ids and entry.id not in wanted.ids:
        return False
    if wanted.held is not None and entry.held != wanted.held:
        return False
    if wanted.older and now - entry.received_at < wanted.older:
        return False
    if not (wanted.tenant or wanted.sender or wanted.recipient or wanted.domain or wanted.destination or wanted.reason):
        return True  # the envelope need not be read
    envelope = _envelope(entry)
    if wanted.tenant and wanted.tenant.lower() != envelope.tenant.lower():
        return False
    if wanted.sender and not _has(wanted.sender, envelope.sender):
        return False
    pending = [(job, recipient) for job in entry.jobs for recipient in job.recipients]
    if wanted.recipient and not any(_has(wanted.recipient, r.address, r.original) for _, r in pending):
        return False
    if wanted.domain:
        domain = wanted.domain.lower()
        addresses = (envelope.sender, *(a for _, r in pending for a in (r.address, r.original)))
        if all(address.rpartition("@")[2].lower() != domain for address in addresses):
            return False
    if wanted.destination and all(job.destination != wanted.destination.lower() for job in entry.jobs):
        return False
    return not wanted.reason or any(
        _has(wanted.reason, str(runner.last_words(job, recipient).reply)) for job, recipient in pending
    )


def _envelope(entry: Entry) -> Envelope:
    """What is damaged on the disk is listed all the same, by what is known of it without."""
    try:
        return entry.message.envelope
    except CorruptSpoolError:
        recipients = tuple(recipient for job in entry.jobs for recipient in job.recipients)
        return Envelope(entry.id, "", recipients, entry.received_at)


def _has(part: str, *texts: str) -> bool:
    # "<>" is how an operator writes the null sender.
    return any(text == "" if part == "<>" else part.lower() in text.lower() for text in texts)


def view(entry: Entry, runner: QueueRunner, now: float, *, headers: bool = False) -> MessageView:
    envelope = _envelope(entry)
    jobs = {recipient.address: job for job in entry.jobs for recipient in job.recipients}
    recipients = []
    for recipient in {r.address: r for r in envelope.recipients}.values():
        tried = entry.progress.recipients.get(recipient.address)
        job = jobs.get(recipient.address)
        last = runner.last_words(job, recipient) if job is not None else tried.outcome if tried is not None else None
        recipients.append(
            RecipientView(
                recipient.address,
                recipient.original,
                job.destination if job is not None else "",
                state_of(job, runner, now) if job is not None else last.fate.value if last is not None else "",
                job.attempts if job is not None else tried.attempts if tried is not None else 0,
                _next_attempt(job, runner),
                str(last.reply) if last is not None else "",
                last.remote if last is not None else "",
            )
        )
    return MessageView(
        envelope.id,
        envelope.sender,
        envelope.tenant,
        entry.message.size,
        envelope.received_at,
        max(0.0, now - envelope.received_at),
        entry.expires_at,
        entry.held,
        tuple(recipients),
        _headers(entry) if headers else "",
    )


def state_of(job: Job, runner: QueueRunner, now: float) -> str:
    """A job whose turn has come waits all the same while its destination does not answer."""
    if job.state is State.READY and runner.scheduler.window(job).closed_until > now:
        return State.WAITING.value
    return job.state.value


def _next_attempt(job: Job | None, runner: QueueRunner) -> float:
    if job is None or job.state not in (State.READY, State.WAITING):
        return 0.0
    return max(job.when, runner.scheduler.window(job).closed_until) if job.state is State.READY else job.when


def _headers(entry: Entry) -> str:
    text = bytearray()
    try:
        chunks = entry.message.chunks()
    except CorruptSpoolError as error:
        return f"(not to be read: {error})"
    for chunk in chunks:
        text += chunk[:65_536]
        if (end := text.find(b"\r\n\r\n")) >= 0:
            return text[:end].decode("utf-8", "replace")
    return text[:65_536].decode("utf-8", "replace")


def stats(entries: list[Entry], runner: QueueRunner, now: float) -> Stats:
    jobs = [job for entry in entries for job in entry.jobs]
    closed = runner.scheduler.closed(now).values()
    return Stats(
        messages=len(entries),
        octets=sum(entry.message.size for entry in entries),
        oldest_age=max((now - entry.received_at for entry in entries), default=0.0),
        held=sum(entry.held for entry in entries),
        running=runner.scheduler.running,
        deliveries=dict(Counter(state_of(job, runner, now) for job in jobs)),
        destinations=dict(Counter(job.destination for job in jobs).most_common(20)),
        closed=tuple(
            DestinationView(w.name, w.failures, w.closed_until, str(w.last.reply) if w.last else "") for w in closed
        ),
    )
