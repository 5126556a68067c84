"""The command as its user types it: what it prints, in words and as JSON, and how it exits."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from postane.admin import account, domain
from postane.admin.site import Site
from postane.cli.main import main
from postane.config.model import Config
from postane.storage.secret import NAMES


class Shell:
    """Runs `postane` in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = folder / "postane.yml"
        self.config.write_text(f"host: mail.host.test\nstate: {folder}\nruntime: {folder}\n")
        self._capsys = capsys
        self._patch = monkeypatch

    def __call__(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        self._patch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def json(self, *words: str, stdin: str = "") -> Any:
        code, out, err = self(*words, "--json", stdin=stdin)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with one domain and one account, for the tests that change nothing."""
    folder = tmp_path_factory.mktemp("bakery")
    site = Site(Config(host="mail.host.test", state=str(folder)))
    site.database.upgrade()
    domain.add(site, "demo.test")
    account.add(site, "ayse@demo.test", "secret-word")
    return folder


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    made = Shell(tmp_path, capsys, monkeypatch)
    assert made.json("directory", "upgrade")["changed"] is True
    assert made.json("directory", "upgrade")["changed"] is False
    return made


def test_an_upgrade_makes_the_keys_that_the_services_may_only_read(shell: Shell, tmp_path: Path) -> None:
    kept = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    assert set(kept) == {f"{name}.key" for name in NAMES}
    shell.json("directory", "upgrade")
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == kept


def test_a_domain_with_its_people(shell: Shell) -> None:
    assert shell.json("domain", "add", "demo.test", "--tenant", "bakery") == {
        "changed": True,
        "item": {
            "name": "demo.test",
            "shown": "demo.test",
            "tenant": "bakery",
            "active": True,
            "accounts": 0,
            "aliases": 0,
        },
    }
    assert shell.json("domain", "add", "demo.test")["changed"] is False
    added = shell.json("account", "add", "Ayse@Demo.test", "--password-stdin", "--quota", "2G", stdin="secret-word\n")
    assert added == {
        "changed": True,
        "item": {"address": "ayse@demo.test", "display_name": "", "quota_bytes": 2 << 30, "active": True},
    }
    assert shell("account", "check-password", "ayse@demo.test", "--password-stdin", stdin="secret-word\n")[0] == 0
    assert shell("account", "check-password", "ayse@demo.test", "--password-stdin", stdin="wrong-word\n")[0] == 1
    again = shell.json("account", "add", "ayse@demo.test", "--password-stdin", stdin="another-word\n")
    assert again["changed"] is False
    assert shell("account", "check-password", "ayse@demo.test", "--password-stdin", stdin="secret-word\n")[0] == 0
    assert (
        shell.json("account", "passwd", "ayse@demo.test", "--password-stdin", stdin="secret-word\n")["changed"] is False
    )
    assert (
        shell.json("account", "passwd", "ayse@demo.test", "--password-stdin", stdin="new-secret\n")["changed"] is True
    )
    assert shell.json("account", "set", "ayse@demo.test", "--name", "Ayşe", "--quota", "0")["item"]["quota_bytes"] == 0
    assert shell.json("alias", "add", "info@demo.test", "ayse@demo.test", "x@far.test")["changed"] is True
    assert shell.json("alias", "add", "info@demo.test", "ayse@demo.test", "x@far.test")["changed"] is False
    assert shell.json("alias", "add", "info@demo.test", "ayse@demo.test")["item"]["targets"] == ["ayse@demo.test"]
    assert shell.json("alias", "add", "*@demo.test", "ayse@demo.test")["changed"] is True
    assert [one["address"] for one in shell.json("alias", "list", "demo.test")] == ["*@demo.test", "info@demo.test"]
    assert shell.json("domain", "show", "demo.test")["aliases"] == 2
    assert shell.json("tenant", "list") == [{"name": "bakery", "domains": 1}]
    assert [key["algorithm"] for key in shell.json("domain", "dkim", "demo.test")] == ["rsa", "ed25519"]
    code, _, err = shell("domain", "remove", "demo.test")
    assert (code, "--force" in err) == (65, True)
    assert shell.json("account", "remove", "ayse@demo.test")["changed"] is True
    assert shell.json("alias", "remove", "info@demo.test")["changed"] is True
    assert shell.json("domain", "remove", "demo.test", "--force")["changed"] is True
    assert shell.json("domain", "list") == []
    assert not (shell.config.parent / "keys" / "dkim" / "demo.test").exists()


def test_a_removed_domain_takes_its_people_along(shell: Shell) -> None:
    shell("domain", "add", "demo.test")
    shell("account", "add", "ayse@demo.test", "--generate")
    shell("alias", "add", "info@demo.test", "ayse@demo.test")
    assert shell("domain", "remove", "demo.test", "--force")[0] == 0
    assert shell.json("account", "list") == shell.json("alias", "list") == []
    shell("domain", "add", "demo.test")
    assert shell.json("account", "list") == []


def test_generated_passwords_are_printed_once(shell: Shell) -> None:
    shell("domain", "add", "demo.test")
    code, out, _ = shell("account", "add", "ayse@demo.test", "--generate")
    password = out.splitlines()[-1].removeprefix("password: ")
    assert code == 0
    assert shell("account", "check-password", "ayse@demo.test", "--password-stdin", stdin=password)[0] == 0
    _, out, _ = shell("account", "add", "ayse@demo.test", "--generate", "--quota", "1G")
    assert "password:" not in out  # it was there before, and keeps its own
    assert "password" not in shell.json("account", "add", "ayse@demo.test", "--generate", "--name", "Ayşe")
    password = shell.json("account", "passwd", "ayse@demo.test", "--generate")["password"]
    assert shell("account", "check-password", "ayse@demo.test", "--password-stdin", stdin=password)[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("domain", "add", "localhost"), 65, "no domain that can have mail"),
        (("domain", "add", "a..b"), 65, "is not a domain name"),
        (("domain", "add", "192.0.2.1"), 65, "no domain that can have mail"),
        (("domain", "show", "far.test"), 65, "far.test is not hosted here"),
        (("domain", "show"), 64, "Missing argument"),
        (("domain", "shwo", "x"), 64, "No such command"),
        (("account", "add", "ayse@far.test", "--password-stdin"), 65, "far.test is not hosted here"),
        (("account", "add", "ayse", "--password-stdin"), 65, "local@domain"),
        (("account", "add", "a/b@demo.test", "--password-stdin"), 65, "has no / or *"),
        (("account", "add", ".a@demo.test", "--password-stdin"), 65, "malformed"),
        (("account", "add", '"a b"@demo.test', "--password-stdin"), 65, "has no spaces"),
        (("account", "add", "a\0b@demo.test", "--password-stdin"), 65, "malformed"),
        (("account", "add", "short@demo.test", "--password-stdin"), 64, "at least 8 characters"),
        (("account", "add", "x@demo.test", "--password-stdin", "--generate"), 64, "exclude each other"),
        (("account", "add", "x@demo.test"), 64, "no password"),
        (("account", "add", "x@demo.test", "--generate", "--quota", "lots"), 64, "is no quota"),
        (("account", "add", "x@demo.test", "--generate", "--quota", "99999999T"), 64, "too much for a mailbox"),
        (("account", "add", "x@demo.test", "--generate", "--name", "a\nBcc: b"), 64, "all of them visible"),
        (("account", "add", "x\u200by@demo.test", "--generate"), 65, "characters that can be seen"),
        (("account", "add", "x@demo.test", "--password-file", "/nowhere"), 64, "/nowhere: No such file"),
        (("account", "add", "x@demo.test", "--password-file", "/bin/true"), 64, "no text in UTF-8"),
        (("account", "list", "far.test"), 65, "far.test is not hosted here"),
        (("alias", "list", "far.test"), 65, "far.test is not hosted here"),
        (("alias", "add", "self@demo.test", "SELF@demo.test"), 64, "its own target"),
        (("domain", "add", "new.test", "--tenant", ""), 64, "a tenant's name has"),
        (("account", "show", "x@demo.test"), 65, "there is no account x@demo.test"),
        (("alias", "add", "ayse@demo.test", "x@far.test"), 65, "is an account"),
        (("alias", "add", "self@demo.test", "self@demo.test"), 64, "its own target"),
        (("alias", "add", "x@demo.test", "no address"), 65, "local@domain"),
        (("alias", "remove", "x@demo.test"), 65, "there is no alias"),
        (("tenant", "remove", "nobody"), 65, "there is no tenant"),
        (("config", "check", "/nowhere.yml"), 78, "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    bakery: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    shell = Shell(bakery, capsys, monkeypatch)
    got, out, err = shell(*words, stdin="short\n")
    assert (got, said in err) == (code, True), err
    assert "Traceback" not in out + err


def test_international_names(shell: Shell) -> None:
    assert shell.json("domain", "add", "MÜZE.example")["item"]["name"] == "xn--mze-hoa.example"
    added = shell.json("account", "add", "Çiğdem@müze.example", "--password-stdin", stdin="password-1\n")
    assert added["item"]["address"] == "çiğdem@xn--mze-hoa.example"
    _, out, _ = shell("domain", "list")
    assert out.startswith("müze.example\t")


def test_config_check_and_show(shell: Shell, tmp_path: Path) -> None:
    assert shell("config", "check", str(shell.config))[0] == 0
    assert shell("config", "show")[1].startswith("{")
    bad = tmp_path / "bad.yml"
    bad.write_text("host: mail.host.test\nsmpt: {}\n")
    code, _, err = shell("config", "check", str(bad))
    assert (code, err) == (78, f"postane: {bad}:2: key 'smpt' is not known; did you mean 'smtp'?\n")


def test_help_teaches(shell: Shell) -> None:
    code, out, err = shell()
    assert code == 0
    assert "First steps" in out + err
    for noun in ("account", "alias", "config", "daemon", "dev", "directory", "domain", "queue", "tenant"):
        assert noun in out + err
