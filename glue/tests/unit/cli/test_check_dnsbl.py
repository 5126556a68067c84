from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from postane.admin import dnsbl
from postane.admin.dnsbl import DnsblView, ListView
from postane.cli import check as cli
from postane.core.question import Ask
from postane.filters.builtin.dnsbl import Options


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """The verb sends the log to a stream that ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.parametrize("refused", [True, False])
def test_words_or_json_and_the_exit_code(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(subject: str, given: Options, ask: Ask) -> DnsblView:
        assert [one.zone for one in given.lists] == ["bl.example", "x.example"]
        bl = ListView("bl.example", True, ("127.0.0.2", "127.0.0.4"), 5, True, "", "Why")
        return DnsblView(subject, 5, 5 if refused else 0, refused, (bl,))

    monkeypatch.setattr(dnsbl, "look", look)
    monkeypatch.setattr("postane.cli.check_dnsbl.config_path", lambda: Path("/none"))
    arguments: list[Any] = ["dnsbl", "192.0.2.66", "--zone", "bl.example", "--zone", "x.example", "--nameserver", "::1"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == refused
    assert done.stdout.splitlines() == [
        "bl.example\tyes\t127.0.0.2 127.0.0.4\t5\tyes\t\tWhy",
        f"192.0.2.66: score 5{' of 5, refused' if refused else ''}",
    ]
    done = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert done.exit_code == refused
    view = json.loads(done.stdout)
    assert (view["subject"], view["refused"], view["lists"][0]["answers"]) == (
        "192.0.2.66",
        refused,
        ["127.0.0.2", "127.0.0.4"],
    )
