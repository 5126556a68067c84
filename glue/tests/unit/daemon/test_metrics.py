"""What a process shows of itself, and what the supervisor keeps of those that ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postane.daemon.metrics import Ledger, Showing
from postane.observe import scrape
from postane.observe.metrics import Metrics


def test_a_process_shows_what_it_counts_at_once_and_at_its_end(tmp_path: Path) -> None:
    metrics = Metrics()

    async def main() -> None:
        showing = asyncio.create_task(Showing(tmp_path, "smtpd-0", metrics).run())
        await asyncio.sleep(0.01)
        metrics.count("postane_mails", "Mails")
        showing.cancel()

    asyncio.run(main())
    text = scrape.gather(tmp_path).render().decode()
    labels = '{service="smtpd",worker="smtpd-0"}'
    assert f"postane_mails_total{labels} 1.0" in text
    assert float(text.partition(f"\npostane_cpu_seconds_total{labels} ")[2].split()[0]) > 0
    assert float(text.partition(f"\npostane_memory_octets{labels} ")[2].split()[0]) > 1e6


def test_what_cannot_be_shown_is_logged_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    showing = Showing(tmp_path / "file" / "metrics", "smtpd-0", Metrics())
    with capture_logs() as lines:
        showing.write()
        showing.write()
    assert [line["event"] for line in lines] == ["metrics_not_shown"]


def test_the_supervisor_keeps_what_the_ended_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.count("postane_mails", "Mails", 4)
    scrape.write(tmp_path, "smtpd-0", metrics)
    ledger = Ledger(tmp_path, "smtpd")
    ledger.begin(["smtpd-0"])  # what an earlier life left is gone
    assert "postane_mails" not in scrape.gather(tmp_path).render().decode()

    scrape.write(tmp_path, "smtpd-0", metrics)
    ledger.ended("smtpd-0", os.getpid(), "died")
    ledger.ended("smtpd-1", 999_999, "stopped")
    ledger.hangs("smtpd-1")
    ledger.reloaded("refused")
    ledger.write()
    text = scrape.gather(tmp_path).render().decode()
    assert 'postane_mails_total{service="smtpd",worker="smtpd-0"} 4.0' in text
    own = 'service="smtpd",why="{}",worker="smtpd-supervisor"'
    assert f'postane_worker_ends_total{{of="smtpd-0",{own.format("died")}}} 1.0' in text
    assert f'postane_worker_ends_total{{of="smtpd-1",{own.format("stopped")}}} 1.0' in text
    assert 'postane_worker_hangs_total{of="smtpd-1"' in text
    assert 'postane_reloads_total{how="refused"' in text


def test_without_a_place_nothing_is_written() -> None:
    ledger = Ledger()
    ledger.begin(["a"])
    ledger.ended("a", 1, "died")
    ledger.write()
