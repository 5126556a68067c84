"""The index of the quarantine: a SQLite file of its own, so that no write here empties the directory's memories.

Each change is one transaction, on the disk when the call returns. The queue process writes; the verbs of the operator
and the API read, delete and restore beside it: SQLite lets them take turns.

What is sent (a released message, a digest) is noted in `sending` before it goes to the spool and settled after it,
or when its delivery begins. What is still noted after a crash and is not in the spool was never sent, and is undone:
so nothing is sent twice, and nothing is called sent that was not.

Every method may raise TemporaryError: no space, locked for too long, a file that is broken.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from postane.core.errors import NotAllowedError, TemporaryError
from postane.quarantine.items import Fresh, Item, Selection
from postane.storage.ownership import hand_over

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE items (
        id INTEGER PRIMARY KEY AUTOINCREMENT, spool_id TEXT NOT NULL, mailbox TEXT NOT NULL, domain TEXT NOT NULL,
        tenant TEXT NOT NULL, sender TEXT NOT NULL, author TEXT NOT NULL, subject TEXT NOT NULL,
        received_at REAL NOT NULL, size INTEGER NOT NULL, reason TEXT NOT NULL, score REAL NOT NULL,
        filter TEXT NOT NULL, client_ip TEXT NOT NULL, smtputf8 INTEGER NOT NULL, body_8bit INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'held', changed_at REAL NOT NULL DEFAULT 0, changed_by TEXT NOT NULL DEFAULT '',
        learned TEXT NOT NULL DEFAULT '', told TEXT NOT NULL DEFAULT '', sending TEXT NOT NULL DEFAULT '',
        UNIQUE (mailbox, spool_id))""",
    "CREATE INDEX items_text ON items (spool_id)",
    "CREATE INDEX items_age ON items (mailbox, received_at, size)",
    "CREATE INDEX items_received ON items (received_at)",
    "CREATE INDEX items_news ON items (mailbox, received_at, sending) WHERE state = 'held' AND told = ''",
    "CREATE INDEX items_sending ON items (sending) WHERE sending <> ''",
    "CREATE INDEX items_told ON items (told) WHERE told <> ''",
    """CREATE TABLE sending (
        spool_id TEXT PRIMARY KEY, kind TEXT NOT NULL, mailbox TEXT NOT NULL, slot REAL NOT NULL, at REAL NOT NULL,
        by TEXT NOT NULL)""",
    "CREATE TABLE digests (mailbox TEXT PRIMARY KEY, slot REAL NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
_COLUMNS = ", ".join(Item.__struct_fields__)
_FRESH = (*Fresh.__struct_fields__, "domain")
_INSERT = f"""INSERT INTO items ({", ".join(_FRESH)}) VALUES ({", ".join(f":{name}" for name in _FRESH)})
    ON CONFLICT (mailbox, spool_id) DO NOTHING"""  # noqa: S608 - names of our own fields
_SELECT = f"SELECT {_COLUMNS} FROM items"  # noqa: S608
_MANY = 500  # values in one statement: SQLite has a bound


class Index:
    """One connection; any thread may use it, one at a time."""

    def __init__(self, file: Path) -> None:
        """The file is made when it is first needed."""
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._lock = Lock()

    # -- in ---------------------------------------------------------------------------------------------------------

    def add(self, arrivals: Sequence[Fresh], *, most_octets: int, most_items: int) -> set[str]:
        """Notes what came in; what is known already stays as it is.

        Mailboxes that are over their bounds lose their oldest, what is released or deleted first; the last one stays.
        Returns the spool ids of what went.
        """
        with self._change() as db:
            for fresh in arrivals:
                values: dict[str, Any] = {name: getattr(fresh, name) for name in _FRESH}
                db.execute(_INSERT, values)
            gone: set[str] = set()
            for mailbox in {fresh.mailbox for fresh in arrivals}:
                gone |= _bound(db, mailbox, most_octets, most_items)
        return gone

    # -- looking ----------------------------------------------------------------------------------------------------

    def count(self, selection: Selection) -> int:
        where, values = _where(selection)
        with self._read() as db:
            return int(db.execute(f"SELECT COUNT(*) FROM items{where}", values).fetchone()[0])  # noqa: S608

    def choose(self, selection: Selection, limit: int = -1) -> list[Item]:
        """Oldest first."""
        where, values = _where(selection)
        with self._read() as db:
            rows = db.execute(f"{_SELECT}{where} ORDER BY received_at, id LIMIT ?", (*values, limit)).fetchall()
        return [_item(row) for row in rows]

    def get(self, item: int) -> Item | None:
        found = self.choose(Selection(ids=(str(item),)))
        return found[0] if found else None

    def waiting(self, mailbox: str, until: float, limit: int) -> tuple[list[Item], int]:
        """What is held for a mailbox of what came up to a time: the newest of it, newest first, and how many in all."""
        where = " WHERE mailbox = ? AND received_at <= ? AND state = 'held' AND sending = ''"
        with self._read() as db:
            count = db.execute(f"SELECT COUNT(*) FROM items{where}", (mailbox, until)).fetchone()[0]  # noqa: S608
            order = " ORDER BY received_at DESC, id DESC LIMIT ?"
            rows = db.execute(f"{_SELECT}{where}{order}", (mailbox, until, limit)).fetchall()
        return [_item(row) for row in rows], count

    def has_text(self, spool_ids: Sequence[str]) -> set[str]:
        """Those that a row still needs the text of."""
        found: set[str] = set()
        with self._read() as db:
            for some in _parts(spool_ids):
                marks = ",".join("?" * len(some))
                rows = db.execute(f"SELECT DISTINCT spool_id FROM items WHERE spool_id IN ({marks})", some)  # noqa: S608
                found |= {spool_id for (spool_id,) in rows}
        return found

    # -- the operator's and the owner's changes ---------------------------------------------------------------------

    def mark(self, items: Sequence[int], to: Literal["held", "deleted"], *, now: float, by: str) -> int:
        """Deletes what is held, or restores (`held`) what is deleted. How many changed."""
        source = "deleted" if to == "held" else "held"
        changed = 0
        with self._change() as db:
            for item in items:
                changed += db.execute(
                    "UPDATE items SET state = ?, changed_at = ?, changed_by = ?"
                    " WHERE id = ? AND state = ? AND sending = ''",
                    (to, now, by, item, source),
                ).rowcount
        return changed

    def learned(self, item: int, kind: str) -> None:
        """Of all mailboxes that have the message: the teacher was told of it once."""
        with self._change() as db:
            db.execute(
                "UPDATE items SET learned = ? WHERE spool_id = (SELECT spool_id FROM items WHERE id = ?)", (kind, item)
            )

    # -- what is sent -----------------------------------------------------------------------------------------------

    def begin_release(self, pairs: Sequence[tuple[int, str]], *, now: float, by: str) -> list[int]:
        """`pairs` of an item and the spool id that it will be sent under; the items that may go: each once."""
        begun = []
        with self._change() as db:
            for item, spool_id in pairs:
                taken = db.execute(
                    "UPDATE items SET sending = ? WHERE id = ? AND state = 'held' AND sending = ''", (spool_id, item)
                ).rowcount
                if taken:
                    db.execute("INSERT INTO sending VALUES (?, 'release', '', 0, ?, ?)", (spool_id, now, by))
                    begun.append(item)
        return begun

    def begin_digest(self, mailbox: str, slot: float, spool_id: str, items: Sequence[int], *, now: float) -> bool:
        """False: another digest told of all of it meanwhile."""
        told = 0
        with self._change() as db:
            for item in items:
                told += db.execute(
                    "UPDATE items SET told = ? WHERE id = ? AND told = '' AND state = 'held'", (spool_id, item)
                ).rowcount
            if told:
                db.execute("INSERT INTO sending VALUES (?, 'digest', ?, ?, ?, '')", (spool_id, mailbox, slot, now))
        return told > 0

    def settle(self, spool_ids: Sequence[str]) -> None:
        """What was sent under these ids is safe in the spool. Twice is as good as once."""
        with self._change() as db:
            for spool_id in spool_ids:
                row = db.execute("SELECT kind, mailbox, slot, at, by FROM sending WHERE spool_id = ?", (spool_id,))
                for kind, mailbox, slot, at, by in row.fetchall():
                    if kind == "digest":
                        _note_slot(db, mailbox, slot)
                    else:
                        db.execute(
                            "UPDATE items SET state = 'released', changed_at = ?, changed_by = ?, sending = ''"
                            " WHERE sending = ?",
                            (at, by, spool_id),
                        )
                db.execute("DELETE FROM sending WHERE spool_id = ?", (spool_id,))

    def undo(self, spool_ids: Sequence[str]) -> int:
        """What was to be sent under these ids was not: all is as before. How many of them were not settled."""
        undone = 0
        with self._change() as db:
            for spool_id in spool_ids:
                if db.execute("DELETE FROM sending WHERE spool_id = ?", (spool_id,)).rowcount:
                    undone += 1
                    db.execute("UPDATE items SET sending = '' WHERE sending = ?", (spool_id,))
                    db.execute("UPDATE items SET told = '' WHERE told = ?", (spool_id,))
        return undone

    def unsettled(self) -> list[str]:
        """The spool ids of what is neither settled nor undone."""
        with self._read() as db:
            return [spool_id for (spool_id,) in db.execute("SELECT spool_id FROM sending").fetchall()]

    # -- digests ----------------------------------------------------------------------------------------------------

    def news(self, account: str = "") -> list[tuple[str, float, float]]:
        """Mailboxes with messages that no digest has told of, when the first came in, the slot of the last digest."""
        only = " AND items.mailbox = ?" if account else ""
        with self._read() as db:
            return db.execute(
                "SELECT items.mailbox, MIN(received_at), COALESCE(MAX(slot), 0) FROM items"  # noqa: S608
                " LEFT JOIN digests ON digests.mailbox = items.mailbox"
                f" WHERE state = 'held' AND told = '' AND sending = ''{only} GROUP BY items.mailbox",
                (account,) if account else (),
            ).fetchall()

    def untold(self, mailbox: str) -> list[Item]:
        """Newest first."""
        with self._read() as db:
            rows = db.execute(
                f"{_SELECT} WHERE mailbox = ? AND state = 'held' AND told = '' AND sending = ''"
                " ORDER BY received_at DESC, id DESC",
                (mailbox,),
            ).fetchall()
        return [_item(row) for row in rows]

    # -- the end ----------------------------------------------------------------------------------------------------

    def mailboxes(self, before: float) -> list[str]:
        """Those that have anything from before that time."""
        with self._read() as db:
            rows = db.execute("SELECT DISTINCT mailbox FROM items WHERE received_at < ?", (before,)).fetchall()
        return [mailbox for (mailbox,) in rows]

    def sweep(self, mailbox: str, before: float, *, dry_run: bool = False) -> list[str]:
        """Forgets what a mailbox has from before that time. The spool ids, one for each row."""
        return self._drop("mailbox = ? AND received_at < ? AND sending = ''", (mailbox, before), dry_run=dry_run)

    def sweep_done(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Forgets what was released or deleted before that time."""
        return self._drop("state <> 'held' AND changed_at < ? AND sending = ''", (before,), dry_run=dry_run)

    def _drop(self, where: str, values: tuple[Any, ...], *, dry_run: bool) -> list[str]:
        with self._change() as db:
            rows = db.execute(f"SELECT spool_id FROM items WHERE {where}", values).fetchall()  # noqa: S608
            if not dry_run and rows:
                db.execute(f"DELETE FROM items WHERE {where}", values)  # noqa: S608
        return [spool_id for (spool_id,) in rows]

    # -- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self._file)
                self._connection.execute(begin)
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._close()
                if isinstance(error, sqlite3.Error | OSError):
                    raise self._failure(error) from error
                raise

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, PermissionError) or "readonly" in str(error):
            return NotAllowedError(f"the quarantine at {self._file.parent} is not yours to use")
        return TemporaryError(f"the quarantine's index at {self._file} does not answer: {error}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()  # what was not committed is rolled back
            self._connection = None

    def close(self) -> None:
        with self._lock:
            self._close()


def _open(file: Path) -> sqlite3.Connection:
    if not file.exists():
        make_folder(file.parent)
        os.close(os.open(file, os.O_CREAT | os.O_CLOEXEC, 0o600))
        hand_over(file, file.parent)
    db = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        db.execute("BEGIN IMMEDIATE")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in _SCHEMA:
                db.execute(statement)
        db.execute("COMMIT")
    return db


def make_folder(folder: Path) -> None:
    """Ours alone, also when root makes it."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hand_over(folder, folder.parent)


def _bound(db: sqlite3.Connection, mailbox: str, most_octets: int, most_items: int) -> set[str]:
    count, octets = db.execute("SELECT COUNT(*), SUM(size) FROM items WHERE mailbox = ?", (mailbox,)).fetchone()
    gone: set[str] = set()
    if count <= most_items and octets <= most_octets:
        return gone
    newest = db.execute("SELECT MAX(id) FROM items WHERE mailbox = ?", (mailbox,)).fetchone()[0]
    rows = db.execute(
        "SELECT id, spool_id, size FROM items WHERE mailbox = ? AND sending = '' AND id <> ?"
        " ORDER BY state = 'held', received_at, id",
        (mailbox, newest),
    ).fetchall()
    for item, spool_id, size in rows:
        if count <= most_items and octets <= most_octets:
            break
        db.execute("DELETE FROM items WHERE id = ?", (item,))
        gone.add(spool_id)
        count -= 1
        octets -= size
    return gone


def _note_slot(db: sqlite3.Connection, mailbox: str, slot: float) -> None:
    db.execute(
        "INSERT INTO digests VALUES (?, ?) ON CONFLICT (mailbox) DO UPDATE SET slot = MAX(slot, excluded.slot)",
        (mailbox, slot),
    )


def _where(selection: Selection) -> tuple[str, tuple[Any, ...]]:
    asked: list[str] = []
    values: list[Any] = []
    if selection.ids:
        numbers = [int(one) for one in selection.ids if one.isascii() and one.isdigit() and len(one) < 19]
        texts = [one.upper() for one in selection.ids]
        ids, spool_ids = ",".join("?" * len(numbers)), ",".join("?" * len(texts))
        asked.append(f"(id IN ({ids}) OR spool_id IN ({spool_ids}))")
        values += [*numbers, *texts]
    for column, value in (("mailbox", selection.account), ("domain", selection.domain), ("state", selection.state)):
        if value:
            asked.append(f"{column} = ?")
            values.append(value)
    if selection.tenant:
        asked.append("lower(tenant) = lower(?)")
        values.append(selection.tenant)
    if selection.reason:
        asked.append("(instr(lower(reason), lower(?)) > 0 OR lower(filter) = lower(?))")
        values += [selection.reason, selection.reason]
    if selection.since:
        asked.append("received_at >= ?")
        values.append(selection.since)
    return (f" WHERE {' AND '.join(asked)}" if asked else ""), tuple(values)


def _item(row: Sequence[Any]) -> Item:
    values: dict[str, Any] = dict(zip(Item.__struct_fields__, row, strict=True))
    values["smtputf8"] = bool(values["smtputf8"])
    values["body_8bit"] = bool(values["body_8bit"])
    return Item(**values)


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    for at in range(0, len(values), _MANY):
        yield list(values[at : at + _MANY])
