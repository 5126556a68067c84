"""Keys of the platform's own, a file each in `<state>/keys/`: made by whoever needs one first, the same for all."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from postane.core.errors import PermanentError
from postane.storage.durable import sync_folder
from postane.storage.ownership import hand_over

OCTETS = 32
NAMES = ("journal", "origin", "quarantine")  # made at an upgrade: the units of smtpd and queue may only read keys


def secret(state: Path, name: str) -> bytes:
    """The key `name`, 32 octets, mode 0600. Raises PermanentError for a damaged file, OSError where it cannot be kept.

    Several processes may ask for a new one in the same instant: all get the one that is kept.
    """
    folder = state / "keys"
    path = folder / f"{name}.key"
    with suppress(FileNotFoundError):
        return _read(path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hand_over(folder, state)
    fd, new = tempfile.mkstemp(dir=folder, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(OCTETS))
            file.flush()
            os.fsync(file.fileno())
        hand_over(Path(new), state)
        with suppress(FileExistsError):
            os.link(new, path)  # not a rename: the first one stays
    finally:
        Path(new).unlink(missing_ok=True)
    sync_folder(folder)
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != OCTETS:
        raise PermanentError(
            f"{path} holds {len(key)} octets instead of {OCTETS}",
            hint="restore it from a backup; a new key voids what the old one signed",
        )
    return key
