"""Message ids: 26 characters of Crockford's base 32 that sort by the time they were made (ULID layout).

48 bits of milliseconds since the epoch, 80 bits of randomness: ids of several workers never meet.
"""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def make_id(now: float, random: bytes) -> str:
    """`now` in seconds since the epoch, `random` ten octets."""
    value = (int(now * 1000) << 80) | int.from_bytes(random, "big")
    # Two characters (10 bits) a step: 13 table look-ups instead of 26.
    return "".join([_PAIRS[(value >> shift) & 0x3FF] for shift in range(120, -1, -10)])


def time_of(message_id: str) -> float:
    """Seconds since the epoch, from an id. Raises ValueError for what is no id."""
    value = 0
    for char in message_id[:10]:
        value = value * 32 + _ALPHABET.index(char)
    return value / 1000
