"""The directory that the benchmark fills by hand is one that the daemon understands."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from bench.growth import fill_directory
from sqlalchemy import create_engine

from postane.storage.schema import Base


def test_domains_accounts_and_logins_are_there(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        now = time.time()
        database.execute("INSERT INTO tenants (name, created_at) VALUES ('default', ?)", (now,))
        database.execute(
            "INSERT INTO domains (tenant_id, name, active, created_at) VALUES (1, 'demo.test', 1, ?)", (now,)
        )
        database.execute(
            "INSERT INTO accounts (domain_id, address, local_part, display_name, quota_bytes, active, created_at)"
            " VALUES (1, 'u0@demo.test', 'u0', '', 0, 1, ?)",
            (now,),
        )
        database.execute(
            "INSERT INTO credentials (account_id, kind, label, hash, created_at) VALUES (1, 'main', '', 'x', ?)", (now,)
        )
    fill_directory(path, 30)
    with contextlib.closing(sqlite3.connect(path)) as database:
        query = (
            "SELECT accounts.address, credentials.hash FROM accounts JOIN domains ON domains.id = accounts.domain_id"
            " JOIN credentials ON credentials.account_id = accounts.id WHERE domains.name = 'd29.test'"
        )
        assert database.execute(query).fetchall() == [("u0@d29.test", "x")]
        assert database.execute("SELECT count(*) FROM domains").fetchone() == (31,)
