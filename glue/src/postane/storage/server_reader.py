"""storage.reader over a database server, by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from postane.storage.engine import Database
from postane.storage.reader import Ask


class ServerReader:
    """Connections of SQLAlchemy's pool."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL that names no database we can speak to."""
        self.url = url
        self._database = Database(url)

    @contextmanager
    def snapshot(self) -> Iterator[Ask]:
        """See storage.reader.Reader."""
        with self._database.session() as session:
            yield lambda sql, **values: [tuple(row) for row in session.execute(text(sql), values)]

    def close(self) -> None:
        self._database.close()
