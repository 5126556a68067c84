"""The daemon's way to the directory: one state a snapshot, errors that say what to do, the same answers both ways."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from postane.core.errors import ServiceMissingError, TemporaryError
from postane.storage.engine import Database
from postane.storage.reader import Reader, SqliteReader, open_reader
from postane.storage.schema import Tenant
from postane.storage.server_reader import ServerReader


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/d.sqlite3"
    database = Database(made)
    database.upgrade()
    with database.change() as session:
        session.add(Tenant(name="one"))
    database.close()
    return made


@pytest.fixture(params=["file", "server"])
def reader(url: str, request: pytest.FixtureRequest) -> Reader:
    """Both kinds over one database: they must not differ."""
    return open_reader(url) if request.param == "file" else ServerReader(url)


def test_questions_with_values_by_name(reader: Reader) -> None:
    with reader.snapshot() as ask:
        assert ask("SELECT name FROM tenants WHERE name IN (:a, :b)", a="one", b="two") == [("one",)]
        assert ask("SELECT name FROM tenants WHERE name = :a", a="two") == []
    reader.close()


def test_a_snapshot_sees_one_state_and_the_next_one_the_change(url: str, reader: Reader) -> None:
    other = Database(url)
    with reader.snapshot() as ask:
        assert len(ask("SELECT name FROM tenants")) == 1
        with other.change() as session:
            session.add(Tenant(name="two"))
        assert len(ask("SELECT name FROM tenants")) == 1
    with reader.snapshot() as ask:
        assert len(ask("SELECT name FROM tenants")) == 2
    other.close()
    reader.close()


def test_a_database_that_was_never_made(tmp_path: Path) -> None:
    for reader in (open_reader(f"sqlite:///{tmp_path}/none.sqlite3"), ServerReader(f"sqlite:///{tmp_path}/n.sqlite3")):
        with pytest.raises(ServiceMissingError) as caught, reader.snapshot() as ask:
            ask("SELECT name FROM tenants")
        assert "postane directory upgrade" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_after_an_error_it_goes_on(url: str, tmp_path: Path) -> None:
    reader = open_reader(url)
    with pytest.raises(TemporaryError, match="no such column"), reader.snapshot() as ask:
        ask("SELECT absent FROM tenants")
    with pytest.raises(ZeroDivisionError), reader.snapshot() as ask:
        raise ZeroDivisionError
    with reader.snapshot() as ask:
        assert ask("SELECT name FROM tenants") == [("one",)]
    # Nothing of what failed holds the database.
    with sqlite3.connect(tmp_path / "d.sqlite3", timeout=0) as writer:
        writer.execute("DELETE FROM tenants")
    reader.close()


def test_it_cannot_write(url: str) -> None:
    reader = open_reader(url)
    with pytest.raises(Exception, match="readonly"), reader.snapshot() as ask:
        ask("DELETE FROM tenants")
    reader.close()


def test_threads_ask_side_by_side(url: str) -> None:
    reader = open_reader(url)
    assert isinstance(reader, SqliteReader)
    meet = threading.Barrier(4)
    answers = []

    def look() -> None:
        with reader.snapshot() as ask:
            meet.wait(10)
            answers.append(ask("SELECT name FROM tenants"))

    for _ in range(2):
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[("one",)]] * 8
    assert len(reader._idle) == 4  # the second round opened no more
    reader.close()
