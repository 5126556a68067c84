"""`postane domain drift` as its user types it, on a real name server; of what the parent says nothing is known here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.cli.main import main
from support.dns import name_server
from support.knot import KNOTD, RunningKnot, knotc, running

pytestmark = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")


@pytest.fixture
def knot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    with running(tmp_path_factory.mktemp("knot")) as made:
        yield made


class Shell:
    """Runs `postane` in this process."""

    def __init__(self, folder: Path, nameserver: str, knot: RunningKnot, capsys: pytest.CaptureFixture[str]) -> None:
        self.knot = knot
        self.config = folder / "postane.yml"
        self.config.write_text(
            f"host: mail.host.test\nstate: {folder}\nruntime: {folder}/run\n"
            f"dns: {{nameservers: ['{nameserver}'], timeout: 1, publish: knot, knot_socket: {knot.socket}}}\n"
        )
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.config), *words])
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def shell(tmp_path: Path, knot: RunningKnot, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with name_server() as (server, address):
        server.add("", "NS", "root.invalid.")
        made = Shell(tmp_path, address, knot, capsys)
        assert made("directory", "upgrade")[0] == 0
        assert made("domain", "add", "müze.test")[0] == 0
        assert made("domain", "apply", "müze.test")[0] == 0
        yield made


def take_away(shell: Shell, record: str) -> None:
    zone = "xn--mze-hoa.test."
    said = knotc(shell.knot.socket, [f"zone-begin {zone}", f"zone-unset {zone} {record}", f"zone-commit {zone}"])
    assert "error" not in said, said


def test_drift_is_shown_and_put_back(shell: Shell) -> None:
    assert shell("domain", "drift")[:2] == (0, "nothing open; 1 domains watched, never looked at\n")
    code, out, _ = shell("domain", "drift", "--look")
    assert code == 0
    assert out.startswith("1 domains looked at, ")  # where nobody has ever served it, that is no drift
    assert "nothing open; 1 domains watched, oldest look" in out
    take_away(shell, "_dmarc.xn--mze-hoa.test. TXT")
    assert shell("domain", "drift")[0] == 0  # nobody has looked
    code, out, _ = shell("domain", "drift", "müze.test", "--look")
    assert code == 1
    assert "müze.test missing since" in out
    assert "_dmarc.xn--mze-hoa.test TXT is gone\n    → put it back: postane domain drift müze.test --repair\n" in out
    code, out, _ = shell("domain", "drift", "müze.test", "--repair", "--dry-run")
    assert (code, out.splitlines()[0].partition(". ")[0]) == (
        1,
        "would put back: xn--mze-hoa.test: _dmarc.xn--mze-hoa.test",
    )
    assert shell("domain", "drift")[0] == 1
    code, out, _ = shell("domain", "drift", "müze.test", "--repair", "--json")
    said = json.loads(out)
    assert (code, said["changed"], said["open"], len(said["round"]["repaired"])) == (0, True, 0, 1)
    assert said["findings"] == []
    code, out, _ = shell("domain", "drift", "--over")
    assert code == 0
    assert "put back 20" in out


def test_the_timers_way_repairs_by_itself_and_counts(shell: Shell) -> None:
    assert shell("domain", "drift", "--due")[0] == 0
    take_away(shell, "xn--mze-hoa.test. MX")
    code, out, _ = shell("domain", "drift", "--due", "--json")
    assert (code, json.loads(out)["round"]["looked"]) == (0, 0)  # its time has not come
    assert shell("domain", "drift", "--look")[0] == 1
    code, out, _ = shell("metrics", "show", "drift", "--json")
    assert code == 0
    assert {"postane_drift_findings", "postane_drift_looks", "postane_drift_round_at"} <= {
        one["name"] for one in json.loads(out)
    }


def test_what_cannot_be_meant(shell: Shell) -> None:
    for words in (("--due", "--look"), ("müze.test", "--due"), ("--dry-run",)):
        assert shell("domain", "drift", *words)[0] == 64
    code, _, err = shell("domain", "drift", "nobody.test")
    assert (code, "nobody.test is not hosted here" in err) == (65, True)
    shell("domain", "leave", "müze.test")
    code, _, err = shell("domain", "drift", "müze.test", "--look")
    assert (code, "müze.test is not watched" in err) == (65, True)
