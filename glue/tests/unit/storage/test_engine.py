"""The doorway: transactions that hold, errors that say what to do, an upgrade that is all or nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from postane.core.errors import ConfigError, PermanentError, ServiceMissingError, TemporaryError
from postane.storage.engine import Database
from postane.storage.migrations import HEAD
from postane.storage.schema import Tenant


def made(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder}/d.sqlite3")
    database.upgrade()
    return database


def test_a_question_makes_no_file(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/d.sqlite3")
    with pytest.raises(ServiceMissingError) as caught, database.session() as session:
        session.scalar(select(Tenant))
    assert "postane directory upgrade" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_hold_signs_that_urls_know(tmp_path: Path) -> None:
    folder = tmp_path / "50% of it #1"
    folder.mkdir()
    assert made(folder).revision()
    assert (folder / "d.sqlite3").stat().st_size > 0


def test_an_interrupted_upgrade_leaves_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path}/d.sqlite3")
    with monkeypatch.context() as patch:

        def broken(_statement: str) -> None:
            raise KeyboardInterrupt

        patch.setattr("alembic.op.execute", broken)
        with pytest.raises(KeyboardInterrupt):
            database.upgrade()
    assert sqlite3.connect(tmp_path / "d.sqlite3").execute("SELECT name FROM sqlite_master").fetchall() == []
    assert database.upgrade()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database = made(tmp_path)
    with database.change() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PermanentError, match="revision 9999, which this version does not know"):
        database.upgrade()


def test_the_newest_revision_is_known_without_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AlembicConfig()
    settings.set_main_option("script_location", "postane.storage:migrations")
    assert ScriptDirectory.from_config(settings).get_current_head() == HEAD
    database = made(tmp_path)
    assert database.revision() == HEAD
    monkeypatch.setattr("alembic.command.upgrade", lambda *_: pytest.fail("there is nothing to do"))
    assert not database.upgrade()


def test_writers_take_turns(tmp_path: Path) -> None:
    """Each reads, then writes: without an exclusive start the second would write over what it has not read."""
    database = made(tmp_path)

    def add() -> None:
        with database.change() as session:
            count = len(session.scalars(select(Tenant)).all())
            session.add(Tenant(name=f"tenant-{count}"))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.session() as session:
        assert sorted(session.scalars(select(Tenant.name))) == [f"tenant-{number}" for number in range(8)]


def test_a_session_sees_one_state(tmp_path: Path) -> None:
    database = made(tmp_path)
    with database.session() as session:
        assert session.scalars(select(Tenant)).all() == []
        with database.change() as other:
            other.add(Tenant(name="new"))
        assert session.scalars(select(Tenant)).all() == []


def test_the_same_name_twice_is_no_crash(tmp_path: Path) -> None:
    database = made(tmp_path)
    with pytest.raises(TemporaryError, match="same name"), database.change() as session:
        session.add_all([Tenant(name="one"), Tenant(name="one")])
    with database.session() as session:
        assert session.scalars(select(Tenant)).all() == []


def test_a_file_that_is_no_database_is_a_temporary_error(tmp_path: Path) -> None:
    (tmp_path / "d.sqlite3").write_text("no database, but long enough to be taken for one\n" * 100)
    with pytest.raises(TemporaryError, match="not a database"):
        Database(f"sqlite:///{tmp_path}/d.sqlite3").upgrade()


@pytest.mark.parametrize("url", ["nonsense", "mongodb://x/y", "oracle://u:secret-word@h/d"])
def test_a_url_that_names_no_database_we_know(url: str) -> None:
    with pytest.raises(ConfigError, match=r"directory\.url") as caught:
        Database(url)
    assert "secret-word" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_folders_owner(tmp_path: Path) -> None:
    os.chown(tmp_path, 64123, 64124)
    database = made(tmp_path)
    with database.change() as session:
        session.add(Tenant(name="one"))
    for file in tmp_path.iterdir():
        assert (file.stat().st_uid, file.stat().st_gid, file.stat().st_mode & 0o777) == (64123, 64124, 0o640), file
    assert {file.name for file in tmp_path.iterdir()} > {"d.sqlite3"}  # SQLite's own files too
