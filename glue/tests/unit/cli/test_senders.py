"""`postane senders` as its user types it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from postane.admin import account, domain
from postane.admin.site import Site
from postane.cli.main import main
from postane.config.load import load


class Shell:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.config = folder / "postane.yml"
        self._capsys = capsys
        self._patch = patch

    def use(self, filters: str) -> None:
        folder = self.config.parent
        self.config.write_text(
            f"host: mail.host.test\nstate: {folder}\nruntime: {folder}\nfilters: {{use: [{filters}]}}\n"
        )

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        self._patch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), "senders", *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell(tmp_path, capsys, monkeypatch)
    made.use("lists")
    site = Site(load(made.config))
    site.database.upgrade()
    domain.add(site, "demo.test")
    account.add(site, "ayse@demo.test", "password-1")
    return made


def test_words(shell: Shell, tmp_path: Path) -> None:
    assert shell("show", "ayse@demo.test") == (0, "ayse@demo.test allows and blocks nobody by itself\n", "")
    assert shell("allow", "ayse@demo.test", "bob@far.test")[1] == "ayse@demo.test allows bob@far.test\n"
    assert shell("allow", "ayse@demo.test", "bob@far.test")[1].startswith("unchanged: ")
    assert shell("block", "ayse@demo.test", ".spam.test", "192.0.2.0/24")[0] == 0
    assert shell("only", "ayse@demo.test", "domain")[1] == "ayse@demo.test takes mail from domain\n"
    text = "allow bob@far.test\nblock .spam.test\nblock 192.0.2.0/24\n"
    assert shell("show", "ayse@demo.test")[1] == f"only domain\n{text}"
    assert shell("export", "ayse@demo.test")[1] == text
    assert shell("import", "domain:demo.test", "-", stdin=text)[1] == "domain:demo.test allows 1 and blocks 2\n"
    (tmp_path / "list").write_text("block far.test\n")
    assert shell("import", "domain:demo.test", str(tmp_path / "list"), "--replace")[0] == 0
    assert shell("export", "domain:demo.test")[1] == "block far.test\n"
    assert shell("forget", "domain:demo.test", "far.test")[1] == "domain:demo.test has forgotten far.test\n"


def test_json(shell: Shell) -> None:
    done: Any = json.loads(shell("block", "domain:demo.test", "far.test", "--json")[1])
    item = {"scope": "domain:demo.test", "allow": [], "block": ["far.test"], "who": [], "in_use": True}
    assert done == {"changed": True, "item": item}
    assert json.loads(shell("show", "domain:demo.test", "--json")[1]) == item


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("allow", "ayse@demo.test", "nonsense"), 65, "'nonsense' is neither an address"),
        (("allow", "everybody", "a@b.test"), 64, "'everybody' is none of tenant:NAME"),
        (("allow", "nobody@demo.test", "a@b.test"), 65, "there is no account nobody@demo.test"),
        (("forget", "ayse@demo.test", "a@b.test"), 65, "neither allows nor blocks a@b.test"),
        (("import", "ayse@demo.test", "/nonexistent"), 74, "/nonexistent"),
        (("import", "ayse@demo.test", "-"), 65, "line 1: 'rubbish' is not"),
    ],
)
def test_errors_are_one_line(shell: Shell, words: tuple[str, ...], code: int, says: str) -> None:
    ended, out, err = shell(*words, stdin="rubbish")
    assert (ended, out) == (code, "")
    assert says in err.splitlines()[0]
    assert "Traceback" not in err


def test_no_effect_is_no_secret(shell: Shell) -> None:
    shell.use("")
    assert "does not run" in shell("allow", "ayse@demo.test", "bob@far.test")[2]
    assert "does not run" in shell("show", "ayse@demo.test")[2]
