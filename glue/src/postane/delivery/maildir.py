"""To folders in Maildir form, `<root>/<the mailbox's folder>/Maildir/`, for `postane dev` and small hosts.

A message's file is named by its spool id: a delivery that is repeated overwrites or, where it may have been made
before (Claimed.doubtful, or a round that failed), finds its own file in new/ or cur/ and leaves it. So mail is never
doubled, whenever the process dies.

Deliveries that wait together share a round: all files are written, then the disk is told of all of them, then each is
synced, then all get their names, then each folder is synced once. The first sync of a round takes most files with it,
so thousands a second come out of a disk that syncs a few hundred files one by one.
All but the syncs happens in one thread. A sync costs no processor but waits for the disk and then for its turn: a few
threads wait side by side, which on a busy machine makes a round two to four times as fast.
Only after the last step is anything called delivered.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from postane.core.envelope import Recipient
from postane.core.ids import time_of
from postane.core.outcome import Outcome
from postane.core.ports import Claimed, FindMailbox, Mailbox
from postane.core.reply import Reply
from postane.delivery.owner import owner

REMOTE = "maildir"
_ROUND = 512  # files in a round at most: each has a descriptor open
_ENOUGH = 64  # files for a round that begins at once; for fewer it waits a moment
_GATHER = 0.005
_THREADS = 4
_LISTINGS_KEPT = 16

_DONE = Reply(250, "2.0.0", "Kept")


@dataclass(slots=True)
class _Item:
    """One file to come. `error` says why it did not."""

    message: Claimed
    folder: str
    name: str
    head: bytes
    done: asyncio.Future[Exception | None]
    fd: int = -1
    kept: bool = False
    error: Exception | None = field(default=None)


class MaildirTransport:
    """A core.ports.Transport. `find` is asked before each delivery."""

    def __init__(self, root: Path, host: str, find: FindMailbox) -> None:
        self._root = root
        self._host = re.sub(r"[^A-Za-z0-9.-]", "_", host)
        self._find = find
        self._waiting: list[_Item] = []
        self._worker: asyncio.Task[None] | None = None
        self._doubtful: set[str] = set()  # ids whose file may have got its name though the round failed
        self._listed: dict[str, set[str]] = {}  # what was in a mailbox when a doubtful message first came to it
        self._known: set[str] = set()  # mailboxes whose folders are there and synced
        self._named: set[Path] = set()  # folders above them whose names are synced
        self._syncing = ThreadPoolExecutor(_THREADS, thread_name_prefix="maildir-sync")
        self._scribe = ThreadPoolExecutor(1, thread_name_prefix="maildir")

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        replies: list[Reply | asyncio.Future[Exception | None]] = []
        for recipient in recipients:
            found = await owner(self._find, message.envelope, recipient)
            replies.append(found if isinstance(found, Reply) else self._enqueue(message, recipient, found))
        outcomes = []
        for recipient, reply in zip(recipients, replies, strict=True):
            if not isinstance(reply, Reply):
                reply = _reply(await reply)
            outcomes.append(Outcome.from_reply(recipient.address, reply, REMOTE))
        return outcomes

    def _enqueue(self, message: Claimed, recipient: Recipient, mailbox: Mailbox) -> asyncio.Future[Exception | None]:
        loop = asyncio.get_running_loop()
        envelope = message.envelope
        name = f"{int(time_of(envelope.id))}.{envelope.id}.{self._host}"
        # RFC 5321 section 4.4: the last server writes the return path.
        head = f"Return-Path: <{envelope.sender}>\r\nDelivered-To: {recipient.address}\r\n".encode()
        item = _Item(message, f"{self._root}/{mailbox.folder}/Maildir", name, head, loop.create_future())
        self._waiting.append(item)
        if self._worker is None:
            self._worker = loop.create_task(self._work(), name="maildir rounds")
        return item.done

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if len(self._waiting) < _ENOUGH:
                    # Each round makes the disk's journal commit twice, and whoever takes mail waits for that too.
                    await asyncio.sleep(_GATHER)
                batch, self._waiting = self._waiting[:_ROUND], self._waiting[_ROUND:]
                await loop.run_in_executor(self._scribe, self._round, batch)
                for item in batch:
                    if not item.done.done():
                        item.done.set_result(item.error)
        finally:
            self._worker = None

    # -- in a thread ------------------------------------------------------------------------------------------------

    def _round(self, batch: list[_Item]) -> None:
        for item in batch:
            _guarded(item, self._write)
        written = [item for item in batch if item.fd >= 0 and item.error is None]
        for item in written:
            _begin_writeback(item.fd)
        list(self._syncing.map(_sync_files, [written[at::_THREADS] for at in range(_THREADS)]))
        folders: dict[str, list[_Item]] = {}
        for item in batch:
            if item.error is None:
                if not item.kept:
                    _guarded(item, self._rename)
                # A file that was there already may have lost its name's sync to a crash.
                folders.setdefault(f"{item.folder}/new", []).append(item)
        list(self._syncing.map(_sync_names, folders, folders.values()))
        for item in batch:
            if item.fd >= 0:
                os.close(item.fd)
            if item.error is not None:
                self._doubtful.add(item.message.id)
                if item.fd >= 0:
                    with suppress(OSError):
                        Path(item.folder, "tmp", item.name).unlink(missing_ok=True)
            else:
                self._doubtful.discard(item.message.id)

    def _write(self, item: _Item) -> None:
        self._make_mailbox(item.folder)
        if self._has(item):
            item.kept = True
            return
        path = f"{item.folder}/tmp/{item.name}"  # noqa: S108
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        chunks = item.message.chunks()
        try:
            item.fd = os.open(path, flags, 0o600)
        except FileNotFoundError:  # removed with its account, which is there again
            self._known.clear()
            self._named.clear()
            self._make_mailbox(item.folder)
            item.fd = os.open(path, flags, 0o600)
        _write_all(item.fd, [item.head, *chunks])

    def _has(self, item: _Item) -> bool:
        """True if the message is in the mailbox already. It is looked for only where an earlier try may have put it."""
        if item.message.id in self._doubtful:
            return item.name in _names(item.folder)
        if not item.message.doubtful:
            return False
        # What an earlier run delivered is there since before this one began, so one look at a mailbox is enough.
        names = self._listed.get(item.folder)
        if names is None:
            if len(self._listed) >= _LISTINGS_KEPT:
                del self._listed[next(iter(self._listed))]
            names = self._listed[item.folder] = _names(item.folder)
        return item.name in names

    def _rename(self, item: _Item) -> None:
        os.rename(f"{item.folder}/tmp/{item.name}", f"{item.folder}/new/{item.name}")  # noqa: PTH104, S108

    def _make_mailbox(self, folder: str) -> None:
        if folder in self._known:
            return
        try:
            self._make_folders(Path(folder))
        except FileNotFoundError:  # those above went with the last mailbox of a domain
            self._named.clear()
            self._make_folders(Path(folder))
        self._known.add(folder)

    def _make_folders(self, path: Path) -> None:
        for above in (*reversed(path.parents), path):
            if (above == self._root or self._root in above.parents) and above not in self._named:
                above.mkdir(mode=0o700, exist_ok=True)
                # Also where it was there: who made it may have been killed before its name was on the disk.
                _sync_folder(above.parent)
                if above not in (path, path.parent):  # what many mailboxes share
                    self._named.add(above)
        for name in ("tmp", "new", "cur"):
            Path(path, name).mkdir(mode=0o700, exist_ok=True)
        _sync_folder(path)

    async def close(self) -> None:
        """Waits for the round under way."""
        if self._worker is not None:
            await asyncio.wait([self._worker])
        self._scribe.shutdown()
        self._syncing.shutdown()


def _names(folder: str) -> set[str]:
    """Of all mails of a Maildir, without flags. Readers move them from new/ to cur/: in this order none escapes."""
    names = set(os.listdir(f"{folder}/new"))  # noqa: PTH208 - strings are a fifth of the cost
    names.update(name.partition(":")[0] for name in os.listdir(f"{folder}/cur"))  # noqa: PTH208
    return names


def _guarded(item: _Item, step: Callable[[_Item], None]) -> None:
    """Runs a step of one item: what breaks there concerns that item alone."""
    try:
        step(item)
    except Exception as error:
        item.error = error


def _sync_files(items: list[_Item]) -> None:
    for item in items:
        _guarded(item, lambda item: os.fsync(item.fd))


def _sync_names(folder: str, items: list[_Item]) -> None:
    try:
        _sync_folder(Path(folder))
    except OSError as error:
        for item in items:
            item.error = item.error or error


def _write_all(fd: int, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    pieces = list(pieces)
    done = os.writev(fd, pieces[:1024])
    if done == sum(len(piece) for piece in pieces):
        return
    rest = memoryview(b"".join(pieces))[done:]
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_libc = ctypes.CDLL(None)
_sync_file_range = getattr(_libc, "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2


def _begin_writeback(fd: int) -> None:
    """Lets the disk begin with a file before anyone waits for it; a hint that may be lost (sync_file_range(2))."""
    if _sync_file_range is not None:
        _sync_file_range(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def _reply(error: Exception | None) -> Reply:
    """What the sender would read. Raises an error that is about the message's own text."""
    if error is None:
        return _DONE
    if isinstance(error, OSError):
        code = 452 if error.errno in (28, 122) else 451  # ENOSPC, EDQUOT
        return Reply(code, "4.3.1" if code == 452 else "4.3.0", f"{error.strerror or error}")
    raise error
