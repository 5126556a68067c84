"""`postane queue check` as it is typed: words, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postane.cli import queue as cli
from postane.cli.site import choose
from support.spool import Written, overwrite, write_segment


@pytest.fixture
def written(tmp_path: Path) -> list[Written]:
    config = tmp_path / "postane.yml"
    config.write_text(f"host: mx.demo.test\nstate: {tmp_path}\n")
    choose(config)
    return write_segment(tmp_path / "spool" / "w0" / "00000001.seg", [b"one", b"two", b"three"])


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["check", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_sound(written: list[Written]) -> None:
    assert run() == (0, "1 segment in 1 folder, 3 messages whole, 3 of them waiting\nno fault\n")


def test_fault_and_repair(tmp_path: Path, written: list[Written]) -> None:
    at = written[1].at
    overwrite(tmp_path / "spool" / "w0" / "00000001.seg", written[1].end - 3, b"TWO")
    code, text = run()
    assert code == 1
    assert f"fault: w0/00000001.seg at {at}: message {written[1].id}: the text does not check out" in text
    assert f"--repair: moved to damaged/w0-00000001-{at}" in text
    assert text.endswith("1 fault\n")

    code, text = run("--json")
    answer = json.loads(text)
    assert (code, answer["clean"], answer["messages"]) == (1, False, 2)
    (fault,) = answer["faults"]
    assert (fault["file"], fault["at"], fault["message"], fault["mended"]) == (
        "w0/00000001.seg", at, written[1].id, False,
    )  # fmt: skip

    code, text = run("--repair")
    assert code == 0
    assert f"repaired: moved to damaged/w0-00000001-{at}" in text
    assert text.endswith("0 faults, 1 repaired\n")
    code, text = run()
    assert code == 0
    assert "note: damaged: 1 pieces" in text
