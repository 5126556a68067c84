"""The store of one host: a SQLite file in the state folder, shared by its workers.

All work is done in a thread of its own, many questions a transaction. With a write-ahead log, `synchronous=NORMAL`
syncs only when the log is folded into the file: a crash of the process loses nothing, a power cut the last seconds and
never the file. Nothing in here is worth a sync for each message.

The file is bounded: what has expired is swept, and of what is too much the soonest to expire goes first. A file that is
damaged is put aside and a new one begun, since a memory that is gone delays some mail and loses none.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from postane.core.errors import ServiceMissingError
from postane.core.ports import Charge, Now
from postane.filters.store.batch import Add, BatchedStore, Get, Operation, Put, Take
from postane.filters.store.bucket import spend
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.storage.ownership import hand_over

log = get_logger("filters")

A = TypeVar("A")
R = TypeVar("R")

FILE = "filters.sqlite3"

_VERSION = 1  # of the tables; another one's are thrown away
_BUSY = 2.0  # seconds that a transaction of another worker is waited for
_SWEEP = 60.0  # seconds between looks for what has expired
_AT_ONCE = 2_000  # rows deleted in one transaction: others wait for it
_PAGES = 262_144  # of 4 KiB: 1 GiB, whatever happens between two sweeps
_MOST = {"buckets": 500_000, "facts": 1_000_000}  # rows

_TABLES = """
    DROP TABLE IF EXISTS buckets;
    DROP TABLE IF EXISTS facts;
    CREATE TABLE buckets (key TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE facts (key TEXT PRIMARY KEY, value NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX buckets_until ON buckets (until);
    CREATE INDEX facts_until ON facts (until);
"""
_FILL = "INSERT INTO buckets VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET until = excluded.until"
_PUT = """
    INSERT INTO facts VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, until = excluded.until"""
_ADD = """
    INSERT INTO facts VALUES (:key, :by, :until)
    ON CONFLICT (key) DO UPDATE SET
        value = excluded.value + CASE WHEN until > :now THEN CAST(value AS INTEGER) ELSE 0 END,
        until = CASE WHEN until > :now THEN until ELSE excluded.until END
    RETURNING value"""


class SqliteStore(BatchedStore):
    """`rows` bounds each table; tests lower it."""

    def __init__(self, state: Path, now: Now, metrics: Metrics, rows: dict[str, int] | None = None) -> None:
        super().__init__(metrics)
        self.file = state / FILE
        self._now = now
        self._rows = rows or _MOST
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._sweep_at = 0.0

    async def _run(self, operations: Sequence[Operation]) -> Sequence[Any]:
        try:
            return await self._at_work(self._do, operations)
        except (sqlite3.Error, OSError) as error:
            raise ServiceMissingError(f"{self.file} does not answer: {error}") from error

    async def _at_work(self, work: Callable[[A], R], argument: A) -> R:
        """In the thread, which alone has the connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "store")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, argument)

    async def _release(self) -> None:
        # Out of sight first: who asks while this one is being closed gets another one, in another thread.
        thread, self._thread = self._thread, None
        db, self._db = self._db, None
        if thread is not None:
            if db is not None:
                await asyncio.get_running_loop().run_in_executor(thread, db.close)
            thread.shutdown(wait=False)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _do(self, operations: Sequence[Operation]) -> list[Any]:
        try:
            return self._transaction(operations)
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            self._put_aside(str(error))
            return self._transaction(operations)

    def _transaction(self, operations: Sequence[Operation]) -> list[Any]:
        db = self._open()
        now = self._now()
        if all(isinstance(one, Get) for one in operations):
            return [_do(db, one, now) for one in operations]
        try:
            results = _all_or_none(db, operations, now)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self._sweep(db, now, full=True)
            results = _all_or_none(db, operations, now)
        if time.monotonic() >= self._sweep_at:
            # Each worker at a time of its own; where there was more, again after the next transaction.
            self._sweep_at = time.monotonic() + _SWEEP * random.uniform(0.75, 1.25)  # noqa: S311
            with suppress(sqlite3.OperationalError):  # who asked has the answer already; another time, then
                if self._sweep(db, now):
                    self._sweep_at = 0.0
        return results

    def _sweep(self, db: sqlite3.Connection, now: float, *, full: bool = False) -> bool:
        """Deletes what has expired and what is over the bound, and a quarter where the file is full.

        True if there is more of it.
        """
        more = False
        with _immediate(db):
            for table, most in self._rows.items():
                # The names of the tables are our own.
                expired = f"SELECT key FROM {table} WHERE until <= ? ORDER BY until LIMIT ?"  # noqa: S608
                gone = db.execute(f"DELETE FROM {table} WHERE key IN ({expired})", (now, _AT_ONCE)).rowcount  # noqa: S608
                ((count,),) = db.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
                surplus = max(count - most, count // 4 if full else 0)
                if surplus > 0:
                    soonest = f"SELECT key FROM {table} ORDER BY until LIMIT ?"  # noqa: S608
                    at_once = min(surplus, _AT_ONCE)
                    db.execute(f"DELETE FROM {table} WHERE key IN ({soonest})", (at_once,))  # noqa: S608
                    log.warning("store_full", table=table, rows=count, most=most, deleted=at_once)
                more = more or gone == _AT_ONCE or surplus > _AT_ONCE
        return more

    def _open(self) -> sqlite3.Connection:
        """The connection, to the file that is there now: it may have been put aside by another worker, or removed."""
        if self._db is not None:
            with suppress(FileNotFoundError):
                if self.file.stat().st_ino == self._inode:
                    return self._db
            self._close()
        with self._alone():
            new = not self.file.exists()
            db = sqlite3.connect(self.file, timeout=_BUSY, isolation_level=None)
            try:
                if new:
                    self.file.chmod(0o600)
                    hand_over(self.file, self.file.parent)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
                db.execute(f"PRAGMA max_page_count = {_PAGES}")
                db.execute("PRAGMA journal_size_limit = 16777216")
                if db.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                    db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
                for path in self.file.parent.glob(f"{FILE}-*"):
                    hand_over(path, self.file.parent)
            except BaseException:
                db.close()
                raise
            self._inode = self.file.stat().st_ino
        self._db = db
        return db

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _put_aside(self, reason: str) -> None:
        """The damaged file gets another name, unless another worker has done it already."""
        inode = self._inode
        self._close()
        with self._alone():
            try:
                if inode and self.file.stat().st_ino != inode:
                    return
            except FileNotFoundError:
                return
            # First what belongs to it: beside a new file it would be taken for that one's.
            for ending in ("-wal", "-shm"):
                Path(f"{self.file}{ending}").unlink(missing_ok=True)
            aside = self.file.with_suffix(".damaged")
            self.file.replace(aside)
            log.error("store_damaged", file=str(self.file), reason=reason, kept_as=str(aside))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time opens the file or puts it aside."""
        path = self.file.with_suffix(".lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            hand_over(path, path.parent)
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


@contextmanager
def _immediate(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # it may have been rolled back already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _all_or_none(db: sqlite3.Connection, operations: Sequence[Operation], now: float) -> list[Any]:
    with _immediate(db):
        return [_do(db, one, now) for one in operations]


def _do(db: sqlite3.Connection, operation: Operation, now: float) -> Any:
    match operation:
        case Take(charges):
            return _take(db, charges, now)
        case Get(key):
            found = db.execute("SELECT value FROM facts WHERE key = ? AND until > ?", (key, now)).fetchone()
            return None if found is None else str(found[0])
        case Put(key, value, seconds):
            db.execute(_PUT, (key, value, now + seconds))
            return None
        case Add(key, by, seconds):
            ((value,),) = db.execute(_ADD, {"key": key, "by": by, "until": now + seconds, "now": now}).fetchall()
            return value


def _take(db: sqlite3.Connection, charges: Sequence[Charge], now: float) -> list[float]:
    waits, filled = [], []
    for charge in charges:
        found = db.execute("SELECT until FROM buckets WHERE key = ?", (charge.key,)).fetchone()
        wait, until = spend(found[0] if found else 0.0, now, charge)
        waits.append(wait)
        if charge.cost:
            filled.append((charge.key, until))
    if not any(waits):
        db.executemany(_FILL, filled)
    return waits


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
