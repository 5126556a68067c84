"""What `postane dev` prepares: from a file of filters, and in a process apart whose errors are told as if its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from postane.admin.dev import Plan, _apart, prepare
from postane.config.load import load
from postane.core.errors import ConfigError, PermanentError, UsageError


def plan(folder: Path, filters_file: Path | None) -> Plan:
    return Plan(
        folder=folder / "dev",
        smtp="127.0.0.1:2525",
        submission="127.0.0.1:2587",
        domains=("demo.test",),
        accounts=(),
        workers=1,
        builtin=False,
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


def test_what_is_done_apart_leaves_nothing_here() -> None:
    here: list[int] = []
    _apart(lambda: here.append(os.getpid()))
    assert here == []


def test_an_error_apart_is_an_error_here() -> None:
    def fail() -> None:
        raise UsageError("no such thing", hint="do this")

    with pytest.raises(UsageError, match="no such thing") as caught:
        _apart(fail)
    assert (caught.value.hint, caught.value.exit_code) == ("do this", 64)


def test_a_death_apart_is_an_error_here() -> None:
    with pytest.raises(PermanentError, match="could not be made"):
        _apart(lambda: os.kill(os.getpid(), 9))


def test_the_built_in_ones_need_no_service(tmp_path: Path) -> None:
    wanted = replace(plan(tmp_path, None), builtin=True)
    config = prepare(wanted)
    assert (config.filters.use, config.dkim.sign) == ((), True)
    asked = prepare(replace(wanted, nameserver="127.0.0.1:5353"))
    assert asked.filters.use == ("authentication", "attachments", "lists")
    assert asked.filters.options == {"authentication": {"trusted_peers": []}}
    assert load(tmp_path / "dev" / "postane.yml") == asked
