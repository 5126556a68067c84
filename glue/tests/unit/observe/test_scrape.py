"""Counters of several processes and generations: one sum, which never goes back while the service runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from postane.observe import scrape
from postane.observe.metrics import Metrics


def shows(folder: Path, worker: str, pid: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.count("postane_mails", "Mails", count)
    metrics.gauge("postane_open", "Open", 1)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    scrape.write(folder, worker, metrics)


def figures(folder: Path, name: str = "postane_mails") -> dict[str, float]:
    family = scrape.gather(folder).read().get(name)
    return {dict(key)["worker"]: figure[0] for key, figure in family.values.items()} if family else {}


def test_generations_of_a_worker_add_up_and_never_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "metrics"
    assert figures(folder) == {}
    shows(folder, "smtpd-0", 11, 5, monkeypatch)
    shows(folder, "smtpd-1", 12, 1, monkeypatch)
    assert figures(folder) == {"smtpd-0": 5, "smtpd-1": 1}
    shows(folder, "smtpd-0", 13, 2, monkeypatch)  # a reload: both live
    assert figures(folder)["smtpd-0"] == 7
    assert figures(folder, "postane_open") == {"smtpd-0": 2, "smtpd-1": 1}
    assert figures(folder, "postane_processes") == {"smtpd-0": 2, "smtpd-1": 1}
    scrape.end(folder, "smtpd-0", 11)
    assert figures(folder)["smtpd-0"] == 7
    assert figures(folder, "postane_open")["smtpd-0"] == 1
    scrape.end(folder, "smtpd-0", 13)
    scrape.end(folder, "smtpd-0", 99)  # died before it showed anything
    assert figures(folder)["smtpd-0"] == 7
    assert "smtpd-0" not in figures(folder, "postane_open")
    shows(folder, "smtpd-0", 14, 1, monkeypatch)
    assert figures(folder)["smtpd-0"] == 8
    assert len(list(folder.iterdir())) == 3

    (folder / ".smtpd-0.15").write_bytes(b"half")  # killed while it wrote
    scrape.clear(folder, "smtpd-0")
    assert figures(folder) == {"smtpd-1": 1}
    assert len(list(folder.iterdir())) == 1


def test_nothing_is_counted_twice_while_a_process_is_buried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(tmp_path, "queue", 11, 5, monkeypatch)
    octets = (tmp_path / "queue.11").read_bytes()
    scrape.end(tmp_path, "queue", 11)
    (tmp_path / "queue.11").write_bytes(octets)  # between the two steps
    assert figures(tmp_path) == {"queue": 5}


def test_a_silent_process_keeps_its_counters_and_loses_its_gauges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(tmp_path, "queue", 11, 5, monkeypatch)
    long_ago = time.time() - 60
    os.utime(tmp_path / "queue.11", (long_ago, long_ago))
    assert figures(tmp_path) == {"queue": 5}
    assert figures(tmp_path, "postane_open") == {}
    assert figures(tmp_path, "postane_processes") == {"queue": 0}


def test_what_is_damaged_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(tmp_path, "queue", 11, 5, monkeypatch)
    (tmp_path / "smtpd-0.7").write_bytes(b"rubbish")
    (tmp_path / "smtpd-0.ended").write_bytes(b"rubbish")
    assert figures(tmp_path) == {"queue": 5}
    scrape.end(tmp_path, "smtpd-0", 7)  # and it ends all the same


def test_a_process_that_runs_now_and_then_leaves_its_gauges_and_adds_to_its_counters(tmp_path: Path) -> None:
    for value in (5, 3):
        metrics = Metrics()
        metrics.count("postane_looks", "Looks", 10)
        metrics.gauge("postane_open", "Open", value)
        scrape.keep(tmp_path, "drift", metrics)
    found = scrape.gather(tmp_path).read()
    labels = (("service", "drift"), ("worker", "drift"))
    assert found["postane_looks"].values == {labels: [20.0]}
    assert found["postane_open"].values == {labels: [3.0]}
    assert "postane_processes" not in found
