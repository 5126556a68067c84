"""How the certificates of a host are, in few figures: written by each run, shown by the API among its metrics.

Runs are short and end; what they found has to be there when Prometheus comes by. No figure names a domain:
`postane certificate list` does.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct

from postane.observe.metrics import Metrics
from postane.storage.durable import write_file
from postane.tls.layout import FOLDER
from postane.tls.ledger import Ledger
from postane.tls.schedule import DAY
from postane.tls.store import Store

_FILE = ".summary.json"


class Summary(Struct):
    """`ends`: of each certificate, seconds since the epoch; `failing` domains; counts since the beginning; `at`."""

    ends: list[float]
    lives: list[float]
    failing: int
    missing: int
    issued: int
    failed: int
    at: float


def write(store: Store, ledger: Ledger, ending_days: float) -> None:
    """Raises OSError."""
    ends, lives, failing, missing = [], [], 0, 0
    for domain in store.domains():
        held, record = store.read(domain), ledger.of(domain)
        failing += record.fault.failures > 0
        if held is not None:
            ends.append(held.not_after)
            lives.append(held.not_after - held.not_before)
        elif record.fault.failures:
            missing += 1
    found = Summary(ends, lives, failing, missing, ledger.common.issued, ledger.common.failed, time.time())
    write_file(store.folder / _FILE, msgspec.json.encode(found), store.folder)


def watch(metrics: Metrics, state: Path, ending_days: float) -> None:
    """Shows the figures of the last run, whenever `metrics` is read."""
    path = state / FOLDER / _FILE

    def look() -> None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Summary)
        except (OSError, msgspec.DecodeError):
            return
        now = time.time()
        pairs = list(zip(found.ends, found.lives, strict=False))
        ended = sum(end <= now for end, _ in pairs)
        ending = sum(now < end < now + min(ending_days * DAY, life / 4) for end, life in pairs)
        text = "Certificates of hosted domains: good, ending (few days left), ended, failing (renewals), missing"
        counts = {
            "good": len(pairs) - ended - ending,
            "ending": ending,
            "ended": ended,
            "failing": found.failing,
            "missing": found.missing,
        }
        for state_of, count in counts.items():
            metrics.gauge("postane_certificates", text, count, state=state_of)
        if pairs:
            text = "When the first certificate of a hosted domain ends, seconds since the epoch"
            metrics.gauge("postane_certificate_first_end_seconds", text, min(found.ends))
        metrics.gauge("postane_certificate_run_seconds", "When certificates were last looked after", found.at)
        metrics.total("postane_certificate_orders", "Certificates that were asked for", found.issued, result="issued")
        metrics.total("postane_certificate_orders", "Certificates that were asked for", found.failed, result="failed")

    metrics.watch(look)
