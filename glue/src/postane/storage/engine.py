"""The doorway to the database: engine, sessions, and the upgrade of the schema.

SQLite runs in WAL mode (readers never wait for a writer) with full syncs: an account that was made is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from postane.config.model import Config
from postane.core.errors import ServiceMissingError, TemporaryError


def url_of(config: Config) -> str:
    return config.directory.url or f"sqlite:///{config.state}/directory.sqlite3"


def sqlite_file(url: str) -> Path | None:
    """The database's file, None for a server or a database in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def open_engine(url: str) -> Engine:
    """An engine; nothing is read yet."""
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    return engine


class Database:
    """Sessions over one engine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_engine(url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an exception.

        Raises TemporaryError when the database is away or locked, ServiceMissingError when it was never made.
        """
        try:
            with self._sessions.begin() as session:
                yield session
        except DBAPIError as error:
            if "no such table" in str(error.orig) or "does not exist" in str(error.orig):
                raise ServiceMissingError(
                    f"the directory at {self.shown} has not been made", hint="run: postane directory upgrade"
                ) from error
            if error.connection_invalidated or "locked" in str(error.orig) or "unable to open" in str(error.orig):
                raise TemporaryError(f"the directory at {self.shown} does not answer: {error.orig}") from error
            raise

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def upgrade(self) -> bool:
        """Brings the schema to this version's state, making the database if there is none. True if it changed."""
        from alembic import command
        from alembic.config import Config as AlembicConfig

        before = self.revision()
        settings = AlembicConfig()
        settings.set_main_option("script_location", "postane.storage:migrations")
        made = None
        if (file := sqlite_file(self.url)) is not None and not file.exists():
            made = file
            file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            file.chmod(0o640)  # group: Dovecot reads it; the umask does not decide that
        try:
            with self.engine.begin() as connection:
                settings.attributes["connection"] = connection
                command.upgrade(settings, "head")
        except SQLAlchemyError:
            if made is not None:
                made.unlink(missing_ok=True)
            raise
        return self.revision() != before

    def revision(self) -> str:
        """The schema's revision, "" for an empty or missing database."""
        file = sqlite_file(self.url)
        if file is not None and not file.exists():
            return ""
        with self.engine.connect() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return ""
            return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")

    def close(self) -> None:
        self.engine.dispose()
