"""A bucket as one number, the time at which it would be full: the generic cell rate algorithm (GCRA).

It needs no clock of its own, no refilling and no list of what happened: ITU-T I.371, annex A.
"""

from __future__ import annotations

import math

from postane.core.ports import Charge

_ROUNDING = 1e-6  # seconds: times since the epoch are that exact as floats


def spend(full_at: float, now: float, charge: Charge) -> tuple[float, float]:
    """Seconds until the charge would be granted (0.0: it is), and when the bucket is full again once it was taken.

    A bucket that would be full later than an empty one is full then: the clock was set back, or the limit raised.
    """
    whole = charge.burst / charge.rate  # seconds that an empty bucket needs
    start = min(max(full_at, now), now + whole)
    need = charge.cost if charge.need is None else charge.need
    if need > charge.burst:
        return math.inf, start
    wait = start + need / charge.rate - now - whole
    return (wait if wait > _ROUNDING else 0.0), start + charge.cost / charge.rate
