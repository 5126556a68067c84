"""The queue's clock: the time of day when the process began, and from then on what a steady clock counts.

An operator, a time server or a virtual machine may set the time of day, by an hour or by years. Retries would come
all at once or not for a long time, and mail would bounce for an age that it does not have. A steady clock is never
set; a process that starts anew takes the time of day as it is then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from postane.core.ports import Now


def _ticks() -> float:
    """Goes on while the machine sleeps, unlike time.monotonic on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def steady(day: Now = time.time, ticks: Callable[[], float] = _ticks) -> Now:
    """A clock for one process: seconds since the epoch by `day` at this moment, then by `ticks`."""
    ahead = day() - ticks()
    return lambda: ticks() + ahead
