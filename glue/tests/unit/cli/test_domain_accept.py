"""`postane domain accept`: what is printed and the exit code, of runs that were kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postane.acceptance import seal
from postane.acceptance.document import Run, document
from postane.acceptance.result import FailedError, Reason, Result, Verdict
from postane.admin import domain, domain_accept
from postane.admin.domain_accept import Accepted, Wishes
from postane.admin.site import Site
from postane.cli.main import main
from postane.config.model import Config
from postane.storage.secret import secret

D = "demo.test"
PASSED = Result("mail.in", Verdict.PASS, Reason(), ("S: 250 ok",), 0.5)
FAILED = Result("mail.spam", Verdict.FAIL, FailedError("spam_in_inbox").reason, (), 1.0)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    site = Site(Config(host="mail.host.test", state=str(tmp_path)))
    site.database.upgrade()
    domain.add(site, D)
    file = tmp_path / "postane.yml"
    file.write_text(f"host: mail.host.test\nstate: {tmp_path}\n")
    return file


def kept(config: Path, *results: Result) -> Path:
    """The document of a run with these results."""
    run = Run(D, D, "mail.host.test", "host.test", "1", "cutover", 1.5e9, 1.5e9 + 2)
    folder = config.parent / "accepted" / D / "20170714T024000Z"
    folder.mkdir(parents=True)
    file = folder / "certificate.json"
    file.write_text(json.dumps(seal.sign(document(run, results), secret(config.parent, seal.KEY))))
    return file


def command(config: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), "domain", "accept", *words])
    return int(ended.value.code or 0)


def test_the_last_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(config, D, "--last") == 65
    assert "has not been accepted yet" in capsys.readouterr().err
    file = kept(config, PASSED, FAILED)
    assert command(config, D, "--last") == 1
    assert capsys.readouterr().out.splitlines() == [
        "✔ Mail from outside arrives (0.5 s)",
        "✘ Spam is kept out: the spam lies in the inbox (1.0 s)",
        "demo.test: Not passed: 1 passed, 1 failed, 0 not applicable",
        f"  {file.parent}",
    ]
    assert command(config, D, "--last", "--lang", "tr") == 1
    assert "✘ İstenmeyen posta dışarıda kalıyor: istenmeyen ileti" in capsys.readouterr().out
    assert command(config, D, "--last", "--json") == 1
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) | {"folder": str(file.parent)}


def test_one_that_passed_is_copied(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(config, PASSED)
    assert command(config, D, "--last", "--to", str(tmp_path / "out")) == 0
    assert f"  {tmp_path}/out/certificate.tr.html" in capsys.readouterr().out
    assert "Passed" in (tmp_path / "out" / "certificate.en.html").read_text()


def test_a_run_passes_on_its_wishes(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Wishes]] = []
    file = kept(config, PASSED)

    def run(_site: Site, name: str, wishes: Wishes, *_: object) -> Accepted:
        asked.append((name, wishes))
        return Accepted(json.loads(file.read_text()), file.parent)

    monkeypatch.setattr(domain_accept, "run", run)
    words = ["--account", "trial", "--echo", "e@far.test", "--peer", "far.test:25", "--from", "me@far.test"]
    assert command(config, D, *words) == 0
    assert asked == [(D, Wishes(local="trial", echo="e@far.test", peer="far.test:25", stranger="me@far.test"))]
    assert "demo.test: Passed" in capsys.readouterr().out


def test_a_signature(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = kept(config, PASSED)
    key = seal.fingerprint_of(secret(tmp_path, seal.KEY))
    assert command(config, "--verify", str(file)) == 0
    good = "good: demo.test on mail.host.test, 2017-07-14T02:40:00Z: pass"
    assert capsys.readouterr().out.splitlines() == [good, f"  key {key}"]
    assert command(config, "--verify", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out)["good"] is True
    assert command(config, "--verify", str(file), "--key", "0000") == 1
    file.write_text(file.read_text().replace("mail.in", "mail.at"))
    assert command(config, "--verify", str(file)) == 1
    assert capsys.readouterr().out.splitlines()[-2] == "not good: the document is not as it was signed"


def test_wrong_words(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(config) == 64
    assert command(config, "--verify", str(tmp_path / "none.json")) == 74
    assert command(config, D, "--lang", "de") == 64
    assert command(config, "other.test") == 65
    (tmp_path / "page.html").write_text("<html>")
    assert command(config, "--verify", str(tmp_path / "page.html")) == 64
    assert "the signed file is certificate.json" in capsys.readouterr().err
