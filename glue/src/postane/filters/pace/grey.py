"""What greylisting remembers and when it lets pass (RFC 6647), as values. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, ip_address
from typing import Self

_SIGNED = re.compile(r"^prvs=[0-9a-z]{4,16}=|^msprvs1=[^=]*=", re.IGNORECASE)  # BATV: anew each day
_REWRITTEN = re.compile(r"^srs[01][=+-].*$", re.IGNORECASE)  # SRS: hash, day and the address before
_CHANGING = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*", re.IGNORECASE)  # counters, days, hashes


@dataclass(frozen=True, slots=True)
class Seen:
    """One sender's mail for one domain. `first` and `last` are seconds since the epoch; `passed`: it came again."""

    first: float
    last: float
    passed: bool = False

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """None for nothing, and for what nobody here wrote."""
        try:
            first, last, passed = (text or "").split()
            return cls(float(first), float(last), passed == "passed")
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.first:.3f} {self.last:.3f} {'passed' if self.passed else 'waits'}"


@dataclass(frozen=True, slots=True)
class Known:
    """How often a sender came again after it was sent away."""

    passes: int
    last: float

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        try:
            passes, last = (text or "").split()
            return cls(int(passes), float(last))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.passes} {self.last:.3f}"

    def again(self, now: float, wait: float) -> Self:
        """After one more pass; those that came together, with several recipients, are one."""
        return type(self)(self.passes + (not 0 <= now - self.last < wait), now)


def remaining(seen: Seen | None, now: float, wait: float) -> float:
    """Seconds until it may pass; 0.0: now. A clock that was set back makes nobody wait longer than `wait`."""
    if seen is None:
        return wait
    if seen.passed:
        return 0.0
    return max(0.0, min(wait, wait - (now - seen.first)))


def key(*parts: str) -> str:
    """Hashed: the parts are long, and nobody's business in a memory that many can read."""
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return f"greylist:{blake2b(joined, digest_size=16).hexdigest()}"


def lasting(local: str) -> str:
    """A sender's local part without what it changes from mail to mail: tags, signatures, counters, VERP."""
    local = _SIGNED.sub("", local)
    local = _REWRITTEN.sub("srs", local)
    local = local.partition("+")[0] or local
    if "=" in local:  # the recipient, as VERP writes it
        local = local.rpartition("=")[0].rpartition("-")[0] or "verp"
    return _CHANGING.sub("#", local.lower())


def is_generic(name: str, ip: str) -> bool:
    """True for the name of a machine that nobody has named: it holds the numbers of its address.

    IPv4 only; three of the four numbers, in either order, or all of them in hexadecimal.
    """
    address = ip_address(ip)
    mapped = address if isinstance(address, IPv4Address) else address.ipv4_mapped
    if mapped is None:
        return False
    name = name.lower()
    if mapped.packed.hex() in name:
        return True
    numbers = [int(run) for run in re.findall(r"[0-9]{1,3}", name)]
    octets = list(mapped.packed)
    windows = [numbers[at : at + 3] for at in range(len(numbers) - 2)]
    wanted = (octets[:3], octets[1:], octets[:0:-1], octets[2::-1])
    return any(window in wanted for window in windows)
