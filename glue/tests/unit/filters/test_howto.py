"""docs/howto/write-a-filter.md, followed to the letter: its package is found, its test passes, the desk shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[4] / "docs" / "howto" / "write-a-filter.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = PAGE.read_text("utf-8")
    kinds: dict[str, list[str]] = {}
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
        kinds.setdefault(kind, []).append(block)
    code, test = kinds["python"]
    (tmp_path / "words_filter.py").write_text(code)
    (tmp_path / "test_words_filter.py").write_text(test)
    (tmp_path / "postane.yml").write_text(kinds["yaml"][0])
    project = tomllib.loads(kinds["toml"][0])["project"]
    told = tmp_path / "postane_words-1.0.dist-info"  # what pip makes of it
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    points = project["entry-points"]["postane.filters"].items()
    (told / "entry_points.txt").write_text(
        "[postane.filters]\n" + "".join(f"{name} = {place}\n" for name, place in points)
    )
    return tmp_path


def run(folder: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_the_package_of_the_page_works(folder: Path) -> None:
    command = [str(Path(sys.executable).parent / "postane"), "--config=postane.yml"]
    checked = run(folder, *command, "config", "check", "postane.yml")
    assert checked.returncode == 0, checked.stderr
    mail = "Subject: =?utf-8?b?w4dla2lsacWf?=\n\nhello\n"
    shown = run(folder, *command, "filters", "test", "-", "--ip=192.0.2.1", "--json", text=mail)
    (said,) = json.loads(shown.stdout)
    assert (said["filter"], said["decision"], said["score"]) == ("words", "quarantine", 3.0)
    tested = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_words_filter.py")
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr
