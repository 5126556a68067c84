from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postane.admin import queue
from postane.cli import queue as cli
from postane.core.errors import PostaneError, UsageError
from postane.queue.control import Answer, DestinationView, MessageView, RecipientView, Stats

MESSAGE = MessageView(
    "01HF",
    "",
    "bakery",
    2048,
    1_800_000_000.0,
    7200.0,
    1_800_400_000.0,
    False,
    (
        RecipientView("bob@far.test", "b@far.test", "far.test", "waiting", 2, 1_800_000_900.0, "451 4.7.1 later\nyes"),
        RecipientView("done@far.test", "", "", "delivered", 1),
    ),
    "Subject: hello\r\nX: y",
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The admin verbs, replaced by ones that note what they were asked."""
    seen: list[tuple[Any, ...]] = []

    def every(runtime: Path, wanted: queue.Filter, limit: int = 1000) -> Answer:
        seen.append(("list", wanted, limit))
        return Answer(count=3, messages=(MESSAGE,))

    def steer(runtime: Path, do: str, wanted: queue.Filter, *, dry_run: bool = False) -> Answer:
        seen.append((do, wanted, dry_run))
        return Answer(count=1, messages=(MESSAGE,))

    def stats(runtime: Path, wanted: queue.Filter) -> Stats:
        closed = (DestinationView("dead.test", 3, 0.0, "451 4.4.1 refused"),)
        return Stats(5, 5000, 90.0, 1, 2, {"waiting": 4}, {"dead.test": 4}, closed)

    monkeypatch.setattr(queue, "every", every)
    monkeypatch.setattr(queue, "steer", steer)
    monkeypatch.setattr(queue, "show", lambda runtime, message_id: MESSAGE)
    monkeypatch.setattr(queue, "stats", stats)
    monkeypatch.setattr(cli, "_runtime", lambda: Path("/nowhere"))
    return seen


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_shows_who_waits_and_why(calls: list[tuple[Any, ...]]) -> None:
    text = run("list", "--domain", "far.test", "--tenant", "bakery", "--older", "2h", "--held")
    assert calls == [("list", queue.Filter(domain="far.test", tenant="bakery", older=7200.0, held=True), 1000)]
    assert "01HF\t2h\t2 KiB\twaiting\t<>\tbob@far.test\t451 4.7.1 later yes" in text
    assert "2 more" in text


def test_json_is_the_whole_of_it(calls: list[tuple[Any, ...]]) -> None:
    assert json.loads(run("list", "--json"))[0]["recipients"][0]["reply"] == "451 4.7.1 later\nyes"
    assert json.loads(run("hold", "01HF", "--json"))["changed"] == 1
    assert json.loads(run("drop", "--all", "--dry-run", "--json"))["changed"] == 0
    assert json.loads(run("stats", "--json"))["messages"] == 5


def test_show_and_stats_are_readable(calls: list[tuple[Any, ...]]) -> None:
    text = run("show", "01HF")
    assert "to bob@far.test (was b@far.test): waiting, 2 attempts" in text
    assert "Subject: hello\nX: y" in text
    text = run("stats")
    assert "no answer from dead.test after 3 trials" in text


@pytest.mark.parametrize("verb", ["hold", "release", "retry", "drop"])
def test_whoever_changes_must_say_what(calls: list[tuple[Any, ...]], verb: str) -> None:
    with pytest.raises(UsageError, match="no message is named"):
        run(verb)
    with pytest.raises(PostaneError, match="exclude"):
        run(verb, "01HF", "--all")
    assert not calls
    assert "1 message" in run(verb, "--all")
    assert "would be" in run(verb, "01HF", "--dry-run")
    assert [dry for _, _, dry in calls] == [False, True]
