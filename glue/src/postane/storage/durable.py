"""Files that are there whole or not at all, whenever the machine stops."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from postane.storage.ownership import hand_over


def write_file(path: Path, octets: bytes, like: Path | None = None) -> None:
    """Puts a file of ours alone (mode 0600) in place, content and name on the disk; its folder stands already.

    `like`: see `ownership.hand_over`. Raises OSError; then nothing has changed.
    """
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if like is not None:
            hand_over(Path(name), like)
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
