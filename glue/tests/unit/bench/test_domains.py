"""The directory that the benchmark of domains fills by hand is one that the verbs understand."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import knot
from bench.domains import fill
from bench.peer import Skip

from postane.admin import domain_facts
from postane.admin.domain_life import Desk
from postane.admin.site import Site
from postane.config.model import Config


def test_domains_with_accounts_and_keys_are_there(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    fill(tmp_path / "directory.sqlite3", ["d0.test", "d1.test"])
    assert [(one.name, one.state, one.accounts) for one in Desk(site).every()] == [
        ("d0.test", "cutover", 1),
        ("d1.test", "cutover", 1),
    ]
    [one, _] = domain_facts.known(site, None)
    assert [selector for selector, _ in one.facts.keys] == ["postane-rsa-1", "postane-ed25519-1"]


def test_knot_says_why_it_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = knot.Knot(tmp_path, ["d0.test"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Skip, match="port 53"):
        server.start()
    server.stop()
