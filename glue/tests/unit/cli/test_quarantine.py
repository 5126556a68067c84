from __future__ import annotations

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from postane.admin import quarantine
from postane.cli import quarantine as cli
from postane.config.model import Config
from postane.core.errors import PostaneError, UsageError
from postane.quarantine.control import DigestView
from support.quarantine import make_item

ITEM = make_item(17, subject="Kârlı\tteklif", reason="Rspamd: score 7.50")
Call = tuple[str, quarantine.Selection, dict[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The admin verbs, replaced by ones that note what they were asked."""
    seen: list[Call] = []

    def verb(name: str, failed: tuple[str, ...] = ()) -> Any:
        def do(config: Config, wanted: quarantine.Selection, *more: object, **options: object) -> quarantine.Done:
            seen.append((name, wanted, {**options, **({"more": more} if more else {})}))
            return quarantine.Done(3 if name == "list" else 1, (ITEM,), failed)

        return do

    monkeypatch.setattr(quarantine, "every", verb("list"))
    for name in ("delete", "restore", "teach"):
        monkeypatch.setattr(quarantine, name, verb(name))
    monkeypatch.setattr(quarantine, "release", verb("release", ("18: no room",)))
    monkeypatch.setattr(
        quarantine, "show", lambda config, one: quarantine.View(ITEM, "Subject: x", "merhaba", ("fatura.zip",))
    )
    monkeypatch.setattr(quarantine, "digest", lambda config, account, *, dry_run: (DigestView("ayse@demo.test", 3),))
    monkeypatch.setattr(quarantine, "sweep", lambda config, *, dry_run: 4)
    monkeypatch.setattr(cli, "_config", lambda: Config(host="mail.demo.test"))
    return seen


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_list_shows_what_is_held(calls: list[Call]) -> None:
    text = run("list", "--domain", "demo.test", "--since", "2026-05-01")
    ((_, wanted, _),) = calls
    assert (wanted.domain, wanted.state) == ("demo.test", "held")
    assert time.strftime("%Y-%m-%d %H", time.localtime(wanted.since)) == "2026-05-01 00"
    assert "17\t" in text
    assert "\tayse@demo.test\tKötü <x@far.test>\tKârlı" in text
    assert "2 more" in text
    run("list", "--state", "any", "--since", "2h")
    assert calls[1][1].state == ""
    assert abs(calls[1][1].since - (time.time() - 7200)) < 60


def test_show_tells_why_it_is_here(calls: list[Call]) -> None:
    text = run("show", "17")
    for words in ("for ayse@demo.test  (held)", "score 7.5", "fatura.zip", "merhaba"):
        assert words in text
    assert json.loads(run("show", "17", "--json"))["item"]["id"] == 17


def test_a_release_that_is_half_done_exits_75(calls: list[Call]) -> None:
    text = run("release", "17", "18", "--learn", "--to", "x@demo.test", code=75)
    assert "1 message released" in text
    assert "18: no room" in text
    _, wanted, options = calls[0]
    assert wanted.ids == ("17", "18")
    assert (options["to"], options["teach"], options["dry_run"]) == ("x@demo.test", True, False)
    assert json.loads(run("release", "17", "--json", code=75))["failed"] == ["18: no room"]


def test_delete_restore_and_learn(calls: list[Call]) -> None:
    assert "1 message would be deleted" in run("delete", "--account", "ayse@demo.test", "--dry-run")
    assert "1 message restored" in run("restore", "--all")
    assert "1 message learned as ham" in run("learn", "17", "--ham")
    assert [name for name, _, _ in calls] == ["delete", "restore", "teach"]
    assert calls[2][2]["more"] == ("ham",)
    assert json.loads(run("delete", "17", "--dry-run", "--json"))["changed"] == 0
    with pytest.raises(UsageError, match="--ham or --spam"):
        run("learn", "17")


@pytest.mark.parametrize("verb", ["release", "delete", "restore"])
def test_nothing_is_changed_that_was_not_named(calls: list[Call], verb: str) -> None:
    for arguments in ([verb], [verb, "17", "--all"], [verb, "--since", "rubbish"]):
        with pytest.raises(PostaneError):
            run(*arguments)
    assert not calls


def test_digest_and_sweep(calls: list[Call]) -> None:
    assert "ayse@demo.test: 3\n1 digest would be sent" in run("digest", "--dry-run")
    assert json.loads(run("digest", "--json"))[0]["messages"] == 3
    assert "4 messages forgotten" in run("sweep")
    assert json.loads(run("sweep", "--dry-run", "--json")) == {"changed": 0, "count": 4}
