"""Whose a file in the state folder is, when root makes it."""

from __future__ import annotations

import os
from pathlib import Path


def hand_over(made: Path, like: Path) -> None:
    """Gives `made` the owner and group of `like`, where root is at work.

    An operator types `postane domain add` as root; the daemon has to read what that makes, as a user of its own.
    """
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)
