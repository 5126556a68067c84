"""What `postane dev` prepares from a file of filters."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.admin.dev import Plan, prepare
from postane.config.load import load
from postane.core.errors import ConfigError


def plan(folder: Path, filters_file: Path | None) -> Plan:
    return Plan(
        folder=folder / "dev",
        smtp="127.0.0.1:2525",
        submission="127.0.0.1:2587",
        domains=("demo.test",),
        accounts=(),
        workers=1,
        sign=False,
        filters_file=filters_file,
        nameserver=None,
    )


def test_filters_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "filters.yml"
    file.write_text("filters:\n  use: [rspamd]\n  options:\n    rspamd: {timeout: 3}\n")
    config = prepare(plan(tmp_path, file))
    assert (config.filters.use, config.filters.options) == (("rspamd",), {"rspamd": {"timeout": 3}})
    assert load(tmp_path / "dev" / "postane.yml") == config


def test_an_error_names_the_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "filters.yml"
    file.write_text("filters:\n  use: [nope]\n")
    with pytest.raises(ConfigError, match=r"filters.yml:2: filters.use: there is no filter 'nope'"):
        prepare(plan(tmp_path, file))


def test_none_without_a_file(tmp_path: Path) -> None:
    assert prepare(plan(tmp_path, None)).filters.use == ()
