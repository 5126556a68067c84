"""Where certificates of hosted domains lie, for those who only read them. See tls.store, which writes them."""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = "tls/domains"  # in the state folder
CHAIN, KEY = "fullchain.pem", "privkey.pem"
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}")


def version_of(folder: Path, name: str) -> Path | None:
    """The folder of the certificate of a service name, for good: what takes its place lies in another. `name` may be
    whatever a stranger says. Two links are read.
    """
    if not _NAME.fullmatch(name):
        return None
    try:
        current = folder / os.readlink(folder / name)  # noqa: PTH115 (a handshake waits for it)
        return current.parent / os.readlink(current)  # noqa: PTH115
    except OSError:
        return None
