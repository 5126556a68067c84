"""`postane metrics show`: sums of all workers, or each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postane.cli.main import main
from postane.observe import scrape
from postane.observe.metrics import Metrics


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "postane.yml"
    path.write_text(f"host: mail.demo.test\nruntime: {tmp_path}\n")
    for number in range(2):
        metrics = Metrics()
        metrics.count("postane_filter_failures_total", "Failures", filter="rspamd", phase="data")
        metrics.seconds("postane_filter_seconds", "Time", 0.02, filter="rspamd", phase="data")
        scrape.write(tmp_path / scrape.FOLDER, f"smtpd-{number}", metrics)
    return f"--config={path}"


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    assert done.value.code == 0
    return capsys.readouterr().out


def test_sums(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, config, "metrics", "show", "filter_").splitlines() == [
        "postane_filter_failures\tfilter=rspamd phase=data service=smtpd\t2",
        "postane_filter_seconds\tfilter=rspamd phase=data service=smtpd\t2 × 20 ms",
    ]


def test_each_worker(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, config, "metrics", "show", "failures", "--by-worker", "--json"))
    assert [(one["labels"]["worker"], one["value"]) for one in found] == [("smtpd-0", 1), ("smtpd-1", 1)]


def test_as_prometheus_has_it(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "# TYPE postane_filter_failures_total counter" in shown(capsys, config, "metrics", "show", "--text")


def test_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "postane.yml"
    path.write_text(f"host: mail.demo.test\nruntime: {tmp_path}/none\n")
    assert shown(capsys, f"--config={path}", "metrics", "show").startswith("nothing is counted")
