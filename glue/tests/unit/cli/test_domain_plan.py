"""`postane domain plan`, `apply`, `letter` and `dns` as their user types them, on a real name server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.cli.main import main
from support.dns import name_server
from support.knot import KNOTD, SECRET, RunningKnot, running

needs_knot = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    zones = dict.fromkeys(("shop.test", "cafe.test"), '@ 300 TXT "v=spf1 -all"\n')
    with running(tmp_path_factory.mktemp("knot"), zones) as knot:
        yield knot


class Shell:
    """Runs `postane` in this process."""

    def __init__(self, folder: Path, nameserver: str, port: int, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "secret").write_text(SECRET)
        self.config = folder / "postane.yml"
        self.config.write_text(
            f"host: mail.host.test\nstate: {folder}\n"
            f"dns: {{nameservers: ['{nameserver}'], timeout: 1, targets: {{far: {{type: rfc2136, "
            f"server: '127.0.0.1:{port}', key_name: writer, key_file: {folder}/secret, timeout: 2}}}}}}\n"
        )
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    with name_server() as (server, address):
        server.add("", "NS", "root.invalid.")
        yield address


@pytest.fixture
def shell(tmp_path: Path, nameserver: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Shell:
    port = request.getfixturevalue("server").port if KNOTD else 1
    made = Shell(tmp_path, nameserver, port, capsys)
    assert made("directory", "upgrade")[0] == 0
    for name in ("shop.test", "cafe.test"):
        assert made("domain", "add", name)[0] == 0
    return made


@needs_knot
def test_a_plan_is_shown_carried_out_and_then_empty(shell: Shell) -> None:
    assert shell("domain", "dns", "shop.test", "--target", "far")[:2] == (0, "shop.test: target far\n")
    code, out, _ = shell("domain", "plan", "shop.test")
    assert code == 0
    assert "- shop.test TXT v=spf1 -all\n+ shop.test TXT v=spf1 mx -all\n" in out
    assert "(1 of 10 look-ups, 1 of 2 empty answers)" in out
    assert "(it said that this domain sends no mail)" in out
    assert "+ shop.test MX 10 mail.host.test.\n    mx: mail for the domain comes here\n" in out
    assert "\x1b[" not in out
    code, out, _ = shell("domain", "apply", "shop.test", "--dry-run")
    assert (code, out.splitlines()[-1]) == (0, "shop.test: would change")
    code, out, _ = shell("domain", "apply", "shop.test", "--json")
    [done] = json.loads(out)
    assert (code, done["state"], done["changed"], done["conflicts"]) == (0, "done", True, 0)
    code, out, _ = shell("domain", "apply", "shop.test")
    assert (code, out) == (0, "shop.test: unchanged\n")


@needs_knot
def test_a_plan_goes_by_a_file(shell: Shell, tmp_path: Path) -> None:
    shell("domain", "dns", "cafe.test", "--target", "far")
    file = tmp_path / "a.plan"
    assert shell("domain", "plan", "cafe.test", "--out", str(file))[0] == 0
    assert shell("domain", "apply", str(file), "--dry-run")[1].endswith("would change\n")
    assert shell("domain", "apply", str(file))[1].endswith("cafe.test: done\n")
    code, _, err = shell("domain", "apply", str(file))
    assert code == 65
    assert "have changed since the plan was made" in err
    file.write_text("{}")
    code, _, err = shell("domain", "apply", str(file))
    assert (code, "no file of plans" in err) == (65, True)


def test_by_hand_nothing_is_written_and_the_letter_says_what(shell: Shell) -> None:
    code, out, _ = shell("domain", "plan", "shop.test", "--json")
    [view] = json.loads(out)
    assert (code, view["changes"], view["plan"]["target"]) == (1, False, "manual")  # the world cannot be asked
    assert "is not known" in view["plan"]["lines"][0]["reason"]
    code, out, _ = shell("domain", "letter", "shop.test", "--language", "tr")
    assert (code, "DNS yöneticisinin" in out) == (0, True)
    assert shell("domain", "letter", "shop.test", "--language", "xx")[0] == 64


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("plan",), 64),
        (("plan", "shop.test", "--all"), 64),
        (("plan", "nobody.test"), 65),
        (("plan", "no domain"), 65),
        (("plan", "shop.test", "--take", "mxx"), 64),
        (("dns", "shop.test", "--target", "nowhere"), 78),
        (("dns", "shop.test", "--keep", "mxx"), 78),
        (("dns", "shop.test", "--dmarc", "perhaps"), 78),
    ],
)
def test_what_is_wrong_has_its_code(shell: Shell, words: tuple[str, ...], code: int) -> None:
    assert shell("domain", *words)[0] == code


def test_a_zone_file_named_as_the_domain_is_no_plan(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.test").write_text("$ORIGIN shop.test.\n")
    code, out, _ = shell("domain", "apply", "shop.test")
    assert (code, out.startswith("shop.test: unchanged; 1 left to you")) == (1, True)


def test_a_server_that_is_away_has_its_code_and_the_others_go_on(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shell.config.read_text()
    shell.config.write_text(text.replace("server: '127.0.0.1:", "server: '127.0.0.2:"))
    shell("domain", "dns", "shop.test", "--target", "far")
    code, out, _ = shell("domain", "plan", "--all")
    assert code == 69
    assert "shop.test: far does not answer about shop.test" in out
    assert "cafe.test (manual)" in out
    code, _, err = shell("domain", "apply", "--all")
    assert (code, "does not answer" in err) == (69, True)
