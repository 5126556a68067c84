"""Moments as people type and read them."""

from __future__ import annotations

import time
from datetime import datetime

from postane.admin.queue import parse_age


def since(text: str) -> float:
    """An age (90m, 7d) or a date as seconds since the epoch; 0 for none. Raises UsageError."""
    if not text:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time() - parse_age(text)


def shown(at: float) -> str:
    """By the host's clock."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
