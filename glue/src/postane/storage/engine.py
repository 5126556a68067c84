"""The doorway to the database: engine, sessions, and the upgrade of the schema.

SQLite runs in WAL mode (readers never wait for a writer) with full syncs: an account that was made is kept.
A session sees one state of the database from its first question to its last; a writing one has the database for
itself from its first line, so what it has read still holds when it writes. Only `upgrade` makes a database file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from postane.core.errors import ConfigError, PermanentError, TemporaryError
from postane.storage.migrations import HEAD
from postane.storage.ownership import hand_over
from postane.storage.place import connect_file, failure, is_missing, sqlite_file

_WRITES = "postane_writes"  # execution option of connections that mean to write


def open_engine(url: str) -> Engine:
    """An engine; nothing is read yet. Raises ConfigError for a URL that names no database we can speak to."""
    try:
        file = sqlite_file(url)
        if file is not None:
            engine = create_engine(url, creator=lambda: connect_file(file, "rw"))
        else:
            engine = create_engine(url, pool_pre_ping=True)
    except (ArgumentError, ImportError) as error:
        raise ConfigError(f"directory.url: {error}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # Transactions are begun by us: sqlite3 would begin them late, and leave changes of the schema outside.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that first reads and then writes could fail with "locked" at once, without waiting its turn.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Database:
    """Sessions over one engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_engine(url)
        self._writing = self.engine.execution_options(**{_WRITES: True})
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self._writing, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction that reads.

        Raises TemporaryError when the database is away, locked or broken, ServiceMissingError when it was never made,
        NotAllowedError when this user may not.
        """
        with self._told(), self._readers.begin() as session:
            yield session

    @contextmanager
    def change(self) -> Iterator[Session]:
        """A transaction that writes, one at a time: committed at the end, rolled back by an exception. As `session`."""
        with self._told(), self._writers.begin() as session:
            yield session

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns the library's errors into ours."""
        try:
            yield
        except IntegrityError as error:
            raise TemporaryError("another command has just made the same name", hint="try again") from error
        except DBAPIError as error:
            raise failure(self.shown, sqlite_file(self.url), str(error.orig)) from error

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def upgrade(self) -> bool:
        """Brings the schema to this version's state, making the database if there is none. True if it changed.

        All of it or nothing: interrupted, it is as it was. Raises PermanentError for a schema newer than this version.
        """
        before = self.revision()
        if before == HEAD:
            return False  # and Alembic, which takes a while to load, is not needed
        from alembic import command
        from alembic.config import Config as AlembicConfig
        from alembic.util import CommandError

        settings = AlembicConfig()
        settings.set_main_option("script_location", "postane.storage:migrations")
        if (file := sqlite_file(self.url)) is not None and not file.exists():
            _make_file(file)
        try:
            with self._told(), self._writing.begin() as connection:
                settings.attributes["connection"] = connection
                command.upgrade(settings, "head")
        except CommandError as error:
            raise PermanentError(
                f"the directory at {self.shown} has revision {before}, which this version does not know",
                hint="a newer Postane made it: run that one",
            ) from error
        return self.revision() != before

    def revision(self) -> str:
        """The schema's revision, "" for an empty or missing database."""
        file = sqlite_file(self.url)
        if file is not None and is_missing(file):
            return ""
        with self._told(), self.engine.connect() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return ""
            return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")

    def close(self) -> None:
        self.engine.dispose()


def _make_file(file: Path) -> None:
    """An empty database that its group may read, whatever the umask; twice at once does no harm."""
    if not file.parent.exists():
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        hand_over(file.parent, file.parent.parent)
    fd = os.open(file, os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.fchmod(fd, 0o640)
    finally:
        os.close(fd)
    hand_over(file, file.parent)
