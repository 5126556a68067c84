"""The spool on the disk as its operator verifies and mends it; the daemon need not run."""

from __future__ import annotations

from pathlib import Path

from postane.config.load import load
from postane.spool.check import Fault, Report, check
from postane.spool.repair import repair


def verify(config: Path, *, mend: bool = False) -> Report:
    """Looks through the whole spool; with `mend` sets aside what does not check out.

    Raises ConfigError, NotFoundError where there is no spool, and with `mend` TemporaryError while the queue runs.
    """
    root = Path(load(config).state) / "spool"
    return repair(root) if mend else check(root)


__all__ = ["Fault", "Report", "verify"]
