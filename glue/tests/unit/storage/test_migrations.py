"""Upgrades of a directory that is in use: what was there before, and what it is afterwards."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import text

from postane.admin import account, mailboxes
from postane.admin.site import Site
from postane.config.model import Config, Directory
from postane.storage.engine import Database


def _go(database: Database, revision: str) -> None:
    settings = AlembicConfig()
    settings.set_main_option("script_location", "postane.storage:migrations")
    with database.engine.begin() as connection:
        settings.attributes["connection"] = connection
        turn = command.downgrade if revision < (database.revision() or "") else command.upgrade
        turn(settings, revision)


def _rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_domains_from_before_have_the_operators_word_and_their_mail_here(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/d.sqlite3")
    (tmp_path / "d.sqlite3").touch()
    _go(database, "0003")
    with database.engine.begin() as connection:
        for statement in (
            "INSERT INTO tenants VALUES (1, 'bakery', 5)",
            "INSERT INTO domains (id, tenant_id, name, active, created_at) VALUES (1, 1, 'demo.test', 1, 7.5)",
            "INSERT INTO accounts VALUES (1, 1, 'a@demo.test', 'a', '', 0, 1, 8)",
            "INSERT INTO credentials VALUES (1, 1, 'main', '', 'hash', 8, NULL)",
        ):
            connection.execute(text(statement))
    people = "SELECT address, password FROM mail_logins UNION ALL SELECT address, home FROM mail_users"
    before = _rows(database, people)
    assert len(before) == 2
    _go(database, "0004")
    stage = "SELECT state, state_since, proof, token, came_from, old_mx FROM domains"
    assert _rows(database, stage) == [("cutover", 7.5, "operator", "", "", "{}")]
    assert _rows(database, people) == before
    assert _rows(database, "SELECT * FROM audit") == []
    _go(database, "0003")
    assert _rows(database, people) == before
    _go(database, "0004")
    assert _rows(database, people) == before
    database.close()


def test_mailboxes_from_before_keep_their_folders_and_new_ones_get_others(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/d.sqlite3")
    (tmp_path / "d.sqlite3").touch()
    _go(database, "0004")
    with database.engine.begin() as connection:
        for statement in (
            "INSERT INTO tenants VALUES (1, 'bakery', 5)",
            "INSERT INTO domains (id, tenant_id, name, active, created_at) VALUES (1, 1, 'demo.test', 1, 7.5)",
            "INSERT INTO accounts VALUES (1, 1, 'a@demo.test', 'a', '', 0, 1, 8)",
            "INSERT INTO credentials VALUES (1, 1, 'main', '', 'hash', 8, NULL)",
        ):
            connection.execute(text(statement))
    people = "SELECT address, password FROM mail_logins UNION ALL SELECT address, home FROM mail_users"
    before = _rows(database, people)
    _go(database, "0005")
    assert _rows(database, people) == before
    _go(database, "0004")
    assert _rows(database, people) == before
    database.upgrade()
    assert _rows(database, people) == before
    database.close()
    site = Site(Config(host="h.test", state=str(tmp_path), directory=Directory(url=f"sqlite:///{tmp_path}/d.sqlite3")))
    # Nobody knows what was removed before: an account "b" may have left a folder.
    account.add(site, "b@demo.test", "password-1")
    assert _rows(site.database, "SELECT home FROM mail_users WHERE local_part = 'b'") == [("/var/vmail/demo.test/b@2",)]
    assert mailboxes.every_left(site) == []
