"""Where the directory's database is, and what its errors mean; without SQLAlchemy, which the daemon does not load."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from postane.config.model import Config
from postane.core.errors import NotAllowedError, PostaneError, ServiceMissingError, TemporaryError


def url_of(config: Config) -> str:
    return config.directory.url or f"sqlite:///{config.state}/directory.sqlite3"


def sqlite_file(url: str) -> Path | None:
    """The database's file, None for a server or a database in memory."""
    kind, _, rest = url.partition("://")
    path = rest.partition("?")[0].removeprefix("/")
    if kind.partition("+")[0] != "sqlite" or path in ("", ":memory:"):
        return None
    return Path(path)


def connect_file(file: Path, mode: str) -> sqlite3.Connection:
    """A connection to a file that exists already; `mode` is rw or ro. May be used by any thread, one at a time."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False)


def is_missing(file: Path) -> bool:
    try:
        return not file.exists()
    except PermissionError:
        return False  # it cannot be seen, which is another matter


def failure(shown: str, file: Path | None, said: str) -> PostaneError:
    """Our error for what the database's driver said; `shown` is the URL without its password.

    ServiceMissingError when the database was never made, NotAllowedError when this user may not, else TemporaryError.
    """
    if "no such table" in said or "does not exist" in said or (file is not None and is_missing(file)):
        hint = "run: postane directory upgrade"
        return ServiceMissingError(f"the directory at {shown} has not been made", hint=hint)
    if "readonly" in said or (file is not None and not os.access(file, os.R_OK | os.W_OK)):
        return NotAllowedError(f"the directory at {shown} is not yours to use: {said}")
    return TemporaryError(f"the directory at {shown} does not answer: {said}")
