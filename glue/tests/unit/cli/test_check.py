from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
from typer.testing import CliRunner

from postane.admin import check
from postane.cli import check as cli
from postane.cli.main import main
from postane.core.question import Ask

ARGUMENTS = ["spf", "--ip", "192.0.2.1", "--helo", "h.example", "--mail-from", "a@x.example", "--nameserver", "::1"]


def answering(result: str) -> Callable[[str, str, str, Ask], Awaitable[tuple[check.SpfView, str]]]:
    async def spf(ip: str, helo: str, mail_from: str, ask: Ask) -> tuple[check.SpfView, str]:
        assert (ip, helo, mail_from) == ("192.0.2.1", "h.example", "a@x.example")
        return check.SpfView(result, "-all", "no", 3, 1), "a problem" if "error" in result else ""

    return spf


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ("pass", 0),
        ("none", 0),
        ("fail", 1),
        ("softfail", 1),
        ("neutral", 1),
        ("temperror", 1),
        ("permerror", 1),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_spf_prints_json_and_exits_by_the_result(
    result: str, code: int, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "spf", answering(result))
    done = CliRunner().invoke(cli.app, [*ARGUMENTS, *more])
    assert done.exit_code == code
    assert json.loads(done.stdout) == {
        "result": result,
        "mechanism": "-all",
        "explanation": "no",
        "lookups": 3,
        "void_lookups": 1,
    }
    assert done.stderr == ("postane: a problem\n" if "error" in result else "")


@pytest.mark.parametrize(
    "arguments",
    [
        ARGUMENTS[:-4],
        ["spf"],
        [*ARGUMENTS, "--ip", "nowhere"],
        [*ARGUMENTS, "--nameserver", "nowhere:x"],
        [*ARGUMENTS, "--unknown"],
        [*ARGUMENTS, "more"],
    ],
)
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    assert ended.value.code == 64
    assert capsys.readouterr().out == ""


def test_clamav_prints_its_state_and_exits_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "clamav", "--address", "/nonexistent/clamd.ctl"])
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out)["result"] == "fail"
    with pytest.raises(SystemExit) as ended:
        main(["check", "clamav", "--address", "nonsense"])
    assert ended.value.code == 64
    assert "neither the path" in capsys.readouterr().err
