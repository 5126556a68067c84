"""The migrated database is the one that the schema describes, and its views show what Dovecot may see."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from postane.admin import account, domain
from postane.admin.site import Site
from postane.config.model import Config
from postane.core.errors import ServiceMissingError
from postane.storage.engine import Database
from postane.storage.schema import Base


def test_migrations_make_the_schema(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/d.sqlite3")
    assert database.revision() == ""
    assert database.upgrade()
    assert not database.upgrade()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    assert (tmp_path / "d.sqlite3").stat().st_mode & 0o777 == 0o640
    database.close()


def test_a_database_that_was_never_made_says_what_to_do(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    with pytest.raises(ServiceMissingError) as caught:
        domain.every(site)
    assert "directory upgrade" in caught.value.hint


def test_views_show_only_what_is_active(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    for name in ("a.test", "b.test"):
        domain.add(site, name)
        account.add(site, f"x@{name}", "password-1", quota=5)
    account.add(site, "çay@a.test", "password-1")
    account.add(site, "off@a.test", "password-1")
    account.change(site, "off@a.test", active=False)
    domain.set_active(site, "b.test", False)

    def rows(query: str) -> list[tuple[object, ...]]:
        with site.database.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    assert rows("SELECT address, domain, local_part, home, quota_bytes FROM mail_users ORDER BY address") == [
        ("x@a.test", "a.test", "x", "/var/vmail/a.test/x", 5),
        ("çay@a.test", "a.test", "çay", "/var/vmail/a.test/çay", 0),
    ]
    logins = rows("SELECT address, password FROM mail_logins ORDER BY address")
    assert [address for address, _ in logins] == ["x@a.test", "çay@a.test"]
    assert all(str(password).startswith("{ARGON2ID}") for _, password in logins)
