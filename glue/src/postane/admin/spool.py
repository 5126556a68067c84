"""The spool on the disk as its operator verifies and mends it; the daemon need not run."""

from __future__ import annotations

import os
from pathlib import Path

from postane.config.load import load
from postane.spool.check import check
from postane.spool.findings import Fault, Report
from postane.spool.repair import repair


def verify(config: Path, *, mend: bool = False) -> Report:
    """Looks through the whole spool; with `mend` sets aside what does not check out.

    Raises ConfigError, NotFoundError where there is no spool, and with `mend` TemporaryError while the queue runs.
    """
    root = Path(load(config).state) / "spool"
    become_owner(root)
    return repair(root) if mend else check(root)


def become_owner(root: Path) -> None:
    """For good: what is made has to be the daemon's own, and what lies in its folders must not lead root anywhere."""
    if os.geteuid() or not root.is_dir():
        return
    owner = root.stat()
    if owner.st_uid:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


__all__ = ["Fault", "Report", "verify"]
