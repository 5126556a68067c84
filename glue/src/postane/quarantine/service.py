"""The quarantine within the queue process: releases, digests and the sweep, and the operator's requests for them.

What is sent goes into the spool by the queue's own writer. The order of steps makes a crash harmless, see `index`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol
from urllib.parse import urljoin

import msgspec

from postane.config.model import Quarantine
from postane.core.address import Address
from postane.core.envelope import Envelope, Notify, Recipient
from postane.core.errors import AddressError, NotFoundError, PermanentError, PostaneError, TemporaryError
from postane.core.ports import Body, Mailbox, Now, Resolved
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.quarantine import digest, release
from postane.quarantine.control import Answer, DigestView, Request
from postane.quarantine.items import SENT, Item, Selection, Settings
from postane.quarantine.store import Store
from postane.quarantine.token import Action, Token, seal

log = get_logger("quarantine")

_LOOK = 30.0  # seconds between looks for digests that are due
_SWEEP = 3600.0
_DAY = 86_400.0
_TOGETHER = 32  # messages, and octets, that are released with one change of the index
_TOGETHER_OCTETS = 32 * 1024 * 1024


class Spool(Protocol):
    """Of core.ports.QueueStore what is needed here."""

    def new_id(self) -> str: ...

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None: ...


class Directory(Protocol):
    async def mailbox(self, address: str) -> Mailbox | None: ...

    async def resolve(self, address: Address) -> Resolved: ...


SettingsOf = Callable[[str], Settings]
"""What holds for a mailbox; called in a thread, may raise TemporaryError."""


class Service:
    """One for each queue process. `begin`, then `run` as a task, and `answer` for the socket."""

    def __init__(
        self,
        store: Store,
        directory: Directory,
        settings: Quarantine,
        host: str,
        secret: Callable[[], bytes],
        *,
        settings_of: SettingsOf | None = None,
        now: Now = time.time,
    ) -> None:
        """`secret` gives the key of the links; it may raise OSError or PermanentError."""
        self._store = store
        self._index = store.index
        self._directory = directory
        self._settings = settings
        self._host = host
        self._secret = secret
        self._settings_of = settings_of or (lambda mailbox: effective(settings))
        self._now = now
        self._spool: Spool | None = None
        self._metrics = Metrics()
        self._sending: set[str] = set()
        self._digests = asyncio.Lock()  # the clock's and the operator's

    @property
    def store(self) -> Store:
        return self._store

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(
        self,
        spool: Spool,
        all_read: Callable[[], bool],
        waits: Callable[[str], bool],
        metrics: Metrics | None = None,
    ) -> None:
        """Until it is cancelled. `all_read`: the spool was read once; `waits`: a message of that id is in the queue."""
        self._spool = spool
        self._metrics = metrics or self._metrics
        while not all_read():  # noqa: ASYNC110 - asked once a start, of a part that does not know us
            await asyncio.sleep(0.05)
        swept = -_SWEEP
        while True:
            due = time.monotonic() - swept >= _SWEEP
            swept = time.monotonic() if due else swept
            try:
                await self.look(waits, sweep=due)
            except Exception as error:  # mail goes on, whatever is wrong here
                _tell(error)
            await asyncio.sleep(_LOOK)

    async def look(self, waits: Callable[[str], bool], *, sweep: bool) -> None:
        """Does what is due now."""
        await self._recover(waits)
        if sweep:
            await self._sweep(dry_run=False)
            await self._store.run(self._store.sweep_texts)
        await self._send_digests()
        kept = await self._store.ask(self._index.count, Selection())
        self._metrics.gauge("postane_quarantine_messages", "Messages in quarantine, whatever became of them", kept)

    async def _recover(self, waits: Callable[[str], bool]) -> None:
        """What an earlier process was about to send, or this one where its index failed: it is in the spool, or it was
        never sent.
        """
        stale = [one for one in await self._store.ask(self._index.unsettled) if one not in self._sending]
        kept = [one for one in stale if waits(one)]
        await self._store.ask(self._index.settle, kept)
        undone = await self._store.ask(self._index.undo, [one for one in stale if one not in kept])
        if stale:
            log.warning("sent before a crash", settled=len(stale) - undone, undone=undone)

    async def close(self) -> None:
        """After `run` has ended."""
        await asyncio.get_running_loop().run_in_executor(None, self._store.close)

    # -- the socket -------------------------------------------------------------------------------------------------

    async def answer(self, line: bytes) -> bytes:
        """The answer to one request. Never raises."""
        try:
            request = msgspec.json.decode(line, type=Request)
            return msgspec.json.encode(await self._do(request))
        except msgspec.DecodeError as error:
            return msgspec.json.encode(Answer(error=f"the request is not understood: {error}"))
        except PostaneError as error:
            return msgspec.json.encode(Answer(error=str(error), permanent=isinstance(error, PermanentError)))
        except Exception:
            log.error("a request of the operator failed", exc_info=True)
            return msgspec.json.encode(Answer(error="the quarantine could not do it; the queue's log says why"))

    async def _do(self, request: Request) -> Answer:
        if request.do == "digest":
            return await self._digest_now(request)
        if request.do == "sweep":
            return Answer(count=await self._sweep(dry_run=request.dry_run))
        return await self.release(request)

    # -- release ----------------------------------------------------------------------------------------------------

    async def release(self, request: Request) -> Answer:
        """Everything that is held of the selection goes into the spool, each message once."""
        wanted = msgspec.structs.replace(request.selection, state="held")
        items = await self._store.ask(self._index.choose, wanted)
        if request.to:
            # Unknown at once, and not message by message.
            await self._recipients(request.to, anywhere=True)
        if request.dry_run:
            return Answer(count=len(items), items=tuple(items[: request.limit]))
        done: list[Item] = []
        failed: list[str] = []
        for some in _together(items):
            done += await self._release(some, request.to, request.by, failed)
        if items:
            self._metrics.count("postane_quarantine_released", "Messages let go out of quarantine", len(done))
            log.info("released", messages=len(done), failed=len(failed), by=request.by, to=request.to)
        return Answer(count=len(done), items=tuple(done[: request.limit]), failed=tuple(failed[: request.limit]))

    async def _release(self, items: Sequence[Item], to: str, by: str, failed: list[str]) -> list[Item]:
        spool = self._ready()
        now = self._now()
        mails: dict[int, tuple[Item, Envelope, Body]] = {}
        for item in items:
            try:
                recipients = await (
                    self._recipients(to, anywhere=True)
                    if to
                    else self._recipients(item.mailbox, since=item.received_at)
                )
                text = await self._store.ask(self._store.text, item)
            except (PostaneError, OSError) as error:
                failed.append(f"{item.id}: {error}")
                continue
            envelope = release.envelope(item, spool.new_id(), recipients, now)
            mails[item.id] = (item, envelope, release.body(text, by, now))
        ids = {number: envelope.id for number, (_, envelope, _) in mails.items()}
        self._sending.update(ids.values())
        try:
            begun = await self._store.ask(lambda: self._index.begin_release(list(ids.items()), now=now, by=by))
        except PostaneError:
            self._sending.difference_update(ids.values())
            raise
        results = await asyncio.gather(
            *(spool.put(mails[one][1], b"", mails[one][2]) for one in begun), return_exceptions=True
        )
        lost = [one for one, result in zip(begun, results, strict=True) if result is not None]
        failed += [f"{one}: {result}" for one, result in zip(begun, results, strict=True) if result is not None]
        kept = [one for one in begun if one not in lost]
        # Where the index fails now: what was lost is undone by `_recover`, what is kept is settled by its delivery.
        self._sending.difference_update(ids[one] for one in ids if one not in kept)
        await self._store.ask(self._index.undo, [ids[one] for one in lost])
        await self._store.ask(self._index.settle, [ids[one] for one in kept])
        self._sending.difference_update(ids[one] for one in kept)
        return [mails[one][0] for one in kept]

    async def _recipients(
        self, address: str, *, anywhere: bool = False, since: float = math.inf
    ) -> tuple[Recipient, ...]:
        """Where mail for an address goes now: a mailbox, or what an alias leads to; `anywhere`: or another host.

        `since` when it was for the address: who has that later is another.

        Raises NotFoundError, AddressError, TemporaryError.
        """
        parsed = Address.parse(address)
        mailbox = await self._directory.mailbox(parsed.key)
        if mailbox is not None and since < mailbox.since:
            raise NotFoundError(f"it came for an account {address} that is gone; --to names another")
        if mailbox is not None:
            return (Recipient(parsed.key, mailbox=mailbox.id),)
        resolved = await self._directory.resolve(parsed)
        if anywhere and not resolved.known_domain:
            return (Recipient(address, kind="remote"),)
        if not resolved.targets:
            raise NotFoundError(f"there is no mailbox {address}; --to names another")
        return resolved.targets

    # -- digests ----------------------------------------------------------------------------------------------------

    async def _send_digests(self) -> None:
        """Those that are due: each mailbox with something new, at its own moment."""
        settings, now = self._settings, self._now()
        for mailbox, first, last in await self._store.ask(self._index.news):
            own = await self._store.ask(self._settings_of, mailbox)
            if own.digest == "never":
                continue
            due = digest.slot(mailbox, own.digest, settings.digest_hour, settings.digest_spread, now)
            # What came after its moment waits for the next one.
            if last < due and first < due:
                try:
                    await self._send_digest(mailbox, own, due)
                except Exception as error:  # the next one's need not wait for it
                    _tell(error, to=mailbox)

    async def _digest_now(self, request: Request) -> Answer:
        views = []
        for mailbox, _, _ in await self._store.ask(self._index.news, request.selection.account):
            own = await self._store.ask(self._settings_of, mailbox)
            if own.digest == "never" and not request.selection.account:
                continue
            if request.dry_run:
                views.append(DigestView(mailbox, len(await self._store.ask(self._index.untold, mailbox))))
            elif count := await self._send_digest(mailbox, own, self._now()):
                views.append(DigestView(mailbox, count))
        return Answer(count=len(views), digests=tuple(views[: request.limit]))

    async def _send_digest(self, mailbox: str, own: Settings, due: float) -> int:
        """How many messages it tells of; 0: none was sent."""
        async with self._digests:
            try:
                recipients = await self._recipients(mailbox)
            except (NotFoundError, AddressError):
                return 0  # whoever it was for is gone
            spool, now = self._ready(), self._now()
            spool_id = spool.new_id()
            items = await self._store.ask(self._index.untold, mailbox)
            owner = await self._directory.mailbox(mailbox)
            if owner is not None:  # what came for an account that had the address before is not told to this one
                items = [item for item in items if item.received_at >= owner.since]
            if not items:
                return 0
            text = self._build(mailbox, own, spool_id, items, now)
            numbers = [item.id for item in items]
            self._sending.add(spool_id)
            try:
                if not await self._store.ask(
                    lambda: self._index.begin_digest(mailbox, due, spool_id, numbers, now=now)
                ):
                    self._sending.discard(spool_id)
                    return 0
                await spool.put(_envelope(spool_id, mailbox, recipients, items, now), b"", release.Pieces([text]))
            except Exception:
                self._sending.discard(spool_id)
                await self._store.ask(self._index.undo, [spool_id])
                raise
            await self._store.ask(self._index.settle, [spool_id])
            self._sending.discard(spool_id)
            self._metrics.count("postane_quarantine_digests", "Digests of the quarantine sent to owners")
            log.info("digest sent", trace_id=spool_id, to=mailbox, messages=len(items))
            return len(items)

    def _build(self, mailbox: str, own: Settings, spool_id: str, items: Sequence[Item], now: float) -> bytes:
        most = self._settings.digest_messages
        try:
            key = self._secret()
        except OSError as error:
            raise TemporaryError(f"the key of the links cannot be read: {error}") from error
        base = base_url(self._settings, self._host)
        expires = now + self._settings.link_days * _DAY

        def link(item: Item, action: Action) -> str:
            if action == "release" and item.filter in self._settings.operator_only:
                return ""
            return urljoin(base, f"q/{seal(key, Token(action, item.id, item.mailbox, expires))}")

        facts = digest.Digest(
            host=self._host,
            id=spool_id,
            mailbox=mailbox,
            items=items[:most],
            older=max(0, len(items) - most),
            days=own.keep / _DAY,
            language=own.language,
            now=now,
            all=urljoin(base, f"q/{seal(key, Token('list', int(now), mailbox, expires))}"),
        )
        return digest.build(facts, link)

    # -- the sweep --------------------------------------------------------------------------------------------------

    async def _sweep(self, *, dry_run: bool) -> int:
        """Forgets what is too old, by each mailbox's own time. How many messages."""
        now = self._now()
        gone: list[str] = await self._store.run(
            lambda: self._index.sweep_done(now - self._settings.undo_days * _DAY, dry_run=dry_run)
        )
        for mailbox in await self._store.ask(self._index.mailboxes, now):
            keep = (await self._store.ask(self._settings_of, mailbox)).keep

            def sweep(mailbox: str = mailbox, before: float = now - keep) -> list[str]:
                return self._index.sweep(mailbox, before, dry_run=dry_run)

            gone += await self._store.run(sweep)
        if gone and not dry_run:
            await self._store.run(self._store.drop_texts, gone)
            log.info("swept", messages=len(gone))
        return len(gone)

    def _ready(self) -> Spool:
        if self._spool is None:
            raise TemporaryError("the queue is starting; try again")
        return self._spool


def _envelope(
    spool_id: str, mailbox: str, recipients: Sequence[Recipient], items: Sequence[Item], now: float
) -> Envelope:
    """Of a digest: nobody answers it, and nobody is told if it does not arrive."""
    return Envelope(
        id=spool_id,
        sender="",
        recipients=tuple(replace(r, original=mailbox, notify=(Notify.NEVER,)) for r in recipients),
        received_at=now,
        smtputf8=not mailbox.isascii(),
        body_8bit=not mailbox.isascii(),
        tenant=items[0].tenant if items else "",
        extra={SENT: "digest"},
    )


def effective(settings: Quarantine, wishes: Sequence[str] = ()) -> Settings:
    """What holds for a mailbox: the configuration, and over it policies (JSON with keys of the section), widest first.

    They were checked when they were made; one that does not fit any more, after an upgrade, is told in the log.
    """
    for wish in wishes:
        try:
            own = msgspec.json.decode(wish, type=dict[str, object])
            settings = msgspec.convert({**msgspec.to_builtins(settings), **own}, Quarantine)
        except msgspec.DecodeError as error:
            log.error("policy is not usable", reason=str(error), wish=wish)
    return Settings(settings.days * _DAY, settings.digest, settings.language)


def base_url(settings: Quarantine, host: str) -> str:
    """Where the links lead, with a slash at its end."""
    url = settings.url or f"https://panel.{host.partition('.')[2] or host}"
    return url.rstrip("/") + "/"


def _tell(error: Exception, **facts: str) -> None:
    # What is expected has its sentence; what is not, its traceback.
    expected = isinstance(error, PostaneError | OSError)
    log.error("quarantine is delayed", reason=str(error), exc_info=not expected, **facts)


def _together(items: Sequence[Item]) -> list[list[Item]]:
    """In parts that are neither too many nor too large."""
    parts: list[list[Item]] = []
    octets = 0
    for item in items:
        if not parts or len(parts[-1]) >= _TOGETHER or octets + item.size > _TOGETHER_OCTETS:
            parts.append([])
            octets = 0
        parts[-1].append(item)
        octets += item.size
    return parts
