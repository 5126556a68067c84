"""Reads the directory for the daemon: plain SQL, rows as tuples.

The daemon asks a handful of questions, always in the same words; the models of storage.schema are for the verbs, which
change things. On SQLite it does not even load SQLAlchemy: that is half of a start and a third of the memory.
The SQL is what SQLite and PostgreSQL both understand, with values by name (`:name`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from postane.storage.place import connect_file, failure, sqlite_file

Row = tuple[Any, ...]


class Ask(Protocol):
    """Puts one question; the answer is all rows."""

    def __call__(self, sql: str, **values: object) -> Sequence[Row]: ...


class Reader(Protocol):
    """One for each process, made in it; may be used by any thread. Nothing is opened before the first question."""

    @property
    def url(self) -> str: ...

    def snapshot(self) -> AbstractContextManager[Ask]:
        """All questions inside see one state of the database.

        Raises TemporaryError when the database is away, locked or broken, ServiceMissingError when it was never made,
        NotAllowedError when this user may not.
        """
        ...

    def close(self) -> None: ...


def open_reader(url: str) -> Reader:
    file = sqlite_file(url)
    if file is not None:
        return SqliteReader(url, file)
    # Here, not above: see the module text.
    from postane.storage.server_reader import ServerReader

    return ServerReader(url)


class SqliteReader:
    """Connections to one file, as many as threads ask at once."""

    def __init__(self, url: str, file: Path) -> None:
        self.url = url
        self._file = file
        self._idle: list[sqlite3.Connection] = []  # append and pop are atomic

    @contextmanager
    def snapshot(self) -> Iterator[Ask]:
        """See Reader."""
        try:
            connection = self._take()
        except sqlite3.Error as error:
            raise failure(self.url, self._file, str(error)) from error
        try:
            connection.execute("BEGIN")
            yield lambda sql, **values: connection.execute(sql, values).fetchall()
            connection.execute("COMMIT")
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise failure(self.url, self._file, str(error)) from error
            raise
        self._idle.append(connection)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = connect_file(self._file, "rw")
        connection.isolation_level = None
        for pragma in ("busy_timeout=5000", "query_only=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
