"""The figures of a host's certificates, as Prometheus is shown them."""

from __future__ import annotations

import time
from pathlib import Path

from postane.observe.metrics import Metrics
from postane.tls import summary
from postane.tls.ledger import Fault, Ledger
from postane.tls.store import Store
from support.pebble import make_server_certificate


def figures(metrics: Metrics) -> dict[str, float]:
    found = {}
    for name, family in metrics.read().items():
        for key, value in family.values.items():
            found[" ".join([name, *(text for _, text in key)])] = value[0]
    return found


def test_what_a_run_has_found_is_shown_and_grows_older_by_itself(tmp_path: Path) -> None:
    state = tmp_path / "state"
    metrics = Metrics()
    summary.watch(metrics, state, 10.0)
    assert figures(metrics) == {}, "no run yet"
    store = Store(state)
    ledger = Ledger(store)
    lives = {"good.test": (-1, 90), "ending.test": (-85, 90), "ended.test": (-95, 90), "short.test": (-1, 6)}
    for name, (begins, days) in lives.items():
        make_server_certificate(tmp_path, f"mail.{name}", begins=begins, days=days)
        chain, key = ((tmp_path / f"server.{end}").read_bytes() for end in ("pem", "key"))
        store.put(name, [f"mail.{name}"], chain, key)
    for name in ("ending.test", "new.test"):
        ledger.of(name).fault = Fault(2, time.time(), "no")
        ledger.save(name)
    ledger.common.issued, ledger.common.failed = 7, 3
    summary.write(store, ledger, 10.0)
    shown = figures(metrics)
    assert {
        word: shown[f"postane_certificates {word}"] for word in ("good", "ending", "ended", "failing", "missing")
    } == {
        "good": 2,
        "ending": 1,
        "ended": 1,
        "failing": 2,
        "missing": 1,
    }
    assert shown["postane_certificate_first_end_seconds"] < time.time()
    assert shown["postane_certificate_orders issued"] == 7
    assert shown["postane_certificate_orders failed"] == 3
    assert time.time() - shown["postane_certificate_run_seconds"] < 60


def test_a_file_that_is_damaged_shows_nothing(tmp_path: Path) -> None:
    metrics = Metrics()
    summary.watch(metrics, tmp_path, 10.0)
    folder = tmp_path / "tls/domains"
    folder.mkdir(parents=True)
    (folder / ".summary.json").write_text("{")
    assert figures(metrics) == {}
