"""`postane certificate` as its user types it, with a real authority."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.cli.main import main
from support import pebble
from support.dns import name_server
from support.pebble import PEBBLE, RunningPebble

pytestmark = pytest.mark.skipif(PEBBLE is None, reason="pebble is not installed")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RunningPebble]]:
    with name_server() as (server, address), pebble.running(tmp_path_factory.mktemp("pebble"), address) as ca:
        server.records["mail.shop.test", "A"] = ["127.0.0.1"]
        yield address, ca


class Shell:
    """Runs `postane` in this process."""

    def __init__(self, folder: Path, nameserver: str, ca: RunningPebble, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "postane.yml"
        self._capsys = capsys
        self._text = (
            f"host: mx.host.test\nstate: {folder}\n"
            f"dns: {{nameservers: ['{nameserver}'], timeout: 2, addresses: [127.0.0.1]}}\n"
        )
        self.asks(ca.directory, ca)

    def asks(self, directory: str, ca: RunningPebble) -> None:
        self.config.write_text(
            f"{self._text}certificates: {{directory: '{directory}', staging: '{ca.directory}', "
            f"ca_bundle: {ca.bundle}, webroot: {ca.webroot}, names: [mail, webmail], order_seconds: 20}}\n"
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def shell(tmp_path: Path, world: tuple[str, RunningPebble], capsys: pytest.CaptureFixture[str]) -> Shell:
    made = Shell(tmp_path, *world, capsys)
    for words in (("directory", "upgrade"), ("domain", "add", "shop.test"), ("domain", "add", "far.test")):
        assert made(*words)[0] == 0
    return made


def test_from_the_plan_to_a_certificate_that_can_be_looked_at(shell: Shell) -> None:
    code, out, _ = shell("certificate", "list")
    assert (code, [line.split("\t")[:2] for line in out.splitlines()]) == (
        0,
        [["far.test", "missing"], ["shop.test", "missing"]],
    )
    code, out, _ = shell("certificate", "plan")
    assert code == 0
    assert "shop.test: would order (missing) mail.shop.test" in out
    assert "without webmail.shop.test: does not lead to this host" in out
    code, out, _ = shell("certificate", "renew", "--dry-run", "--json")
    assert {(one["domain"], one["state"], one["changed"]) for one in json.loads(out)} == {
        ("shop.test", "would order", False),
        ("far.test", "none", False),
    }
    code, out, _ = shell("certificate", "renew", "shop.test", "--staging")
    assert (code, "shop.test: tried" in out) == (0, True)
    code, out, _ = shell("certificate", "renew")
    assert code == 0
    assert "shop.test: issued (missing) mail.shop.test" in out
    assert "1 of 2 told; 0 good, 1 without a name that leads here" in out
    code, out, _ = shell("certificate", "show", "shop.test")
    assert code == 0
    for line in ("shop.test: good", "names    mail.shop.test", "issuer   Pebble", "without  webmail.shop.test: does"):
        assert line in out
    code, out, _ = shell("certificate", "show", "far.test")
    assert (code, "far.test: none" in out) == (0, True)
    code, out, _ = shell("certificate", "list", "--json")
    assert code == 0
    assert {(row["domain"], row["state"]) for row in json.loads(out)} == {("shop.test", "good"), ("far.test", "none")}


def test_what_goes_wrong_is_said_on_standard_error_with_an_exit_code(
    shell: Shell, world: tuple[str, RunningPebble]
) -> None:
    shell.asks("https://127.0.0.1:1/dir", world[1])
    code, out, err = shell("certificate", "renew", "shop.test")
    assert code == 69
    assert "shop.test: failed" in err
    assert "does not answer" in err
    code, out, _ = shell("certificate", "renew", "shop.test", "--json")
    assert code == 69
    assert "does not answer" in json.loads(out)[0]["why"]
    assert shell("certificate", "renew", "nobody.test")[0] == 65
    shell.asks("", world[1])
    code, _, err = shell("certificate", "renew")
    assert (code, "certificates.directory is empty" in err) == (78, True)
    code, _, err = shell("certificate", "show", "nobody.test")
    assert (code, "postane domain add nobody.test" in err) == (65, True)
