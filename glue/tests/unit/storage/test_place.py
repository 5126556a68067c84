"""Which file a URL means."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from postane.config.model import Config, Directory
from postane.storage.place import sqlite_file, url_of


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/postane/directory.sqlite3", "/var/lib/postane/directory.sqlite3"),
        ("sqlite:///near.sqlite3", "near.sqlite3"),
        ("sqlite+pysqlite:////x/50% of it #1/d.sqlite3", "/x/50% of it #1/d.sqlite3"),
        ("sqlite:////x/d.sqlite3?timeout=5", "/x/d.sqlite3"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql+asyncpg://u:secret@h/d", None),
    ],
)
def test_the_file_is_the_one_that_sqlalchemy_would_open(url: str, file: str | None) -> None:
    assert sqlite_file(url) == (Path(file) if file else None)
    parsed = make_url(url)
    if file:
        assert parsed.database == file


def test_where_it_is_without_a_word_in_the_configuration() -> None:
    assert url_of(Config(host="h", state="/s")) == "sqlite:////s/directory.sqlite3"
    assert url_of(Config(host="h", directory=Directory(url="sqlite:////d"))) == "sqlite:////d"
